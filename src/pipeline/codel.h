// CoDel (RFC 8289, section 5): tells by the time that packets waited whether a queue stands, and which packets should
// say so to their senders. A packet says it by a mark or by a drop; here it is one packet a time that does, as Linux
// does where it marks (codel_impl.h), because a superpacket that lost one segment still has the others to deliver.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>

#include "src/protocol/time.h"

namespace culvert::pipeline {

// The clock is the caller's. Thread safety: none.
class Codel {
 public:
  struct Limits {
    protocol::Duration target{};    // what may wait for longer than an interval
    protocol::Duration interval{};  // as long as a round trip at most
  };

  // For every packet as it leaves the queue: whether it carries a signal. `sojourn`: how long it waited. `last`: the
  // queue holds less than one superpacket behind it, which is no queue.
  bool dequeue(protocol::Duration sojourn, bool last, protocol::Instant now, const Limits& limits) {
    const bool stands = has_stood(sojourn, last, now, limits);
    if (signalling_) {
      signalling_ = stands;
      if (!stands || now < next_) return false;
      ++count_;
      next_ = control_law(next_, limits);
      return true;
    }
    if (!stands) return false;
    signalling_ = true;
    // Soon after the last time: go on about where that left off.
    const uint32_t delta = count_ - last_count_;
    count_ = delta > 1 && now - next_ < 16 * limits.interval ? delta : 1;
    next_ = control_law(now, limits);
    last_count_ = count_;
    return true;
  }

 private:
  // Whether packets waited longer than the target for a whole interval.
  bool has_stood(protocol::Duration sojourn, bool last, protocol::Instant now, const Limits& limits) {
    if (sojourn < limits.target || last) {
      above_ = false;
      return false;
    }
    if (!above_) {
      above_ = true;
      stands_at_ = now + limits.interval;
      return false;
    }
    return now >= stands_at_;
  }

  protocol::Instant control_law(protocol::Instant from, const Limits& limits) const {
    const auto ns = static_cast<double>(limits.interval.count()) / std::sqrt(static_cast<double>(count_));
    return from + protocol::Duration(static_cast<protocol::Duration::rep>(ns));
  }

  bool above_ = false;       // the target
  bool signalling_ = false;  // until a packet waited for less
  uint32_t count_ = 0, last_count_ = 0;
  protocol::Instant stands_at_{}, next_{};
};

}  // namespace culvert::pipeline
