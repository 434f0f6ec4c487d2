// When which datagrams are due at a constant rate.
#pragma once

#include <algorithm>
#include <cstdint>

namespace culvert::traffic {

// Time stands outside: nanoseconds of any clock. A sender that was held up catches up at once, but for no more than
// kMaxArrears: what was due before that is never sent, since the burst would fill queues that the rate does not.
//
// Thread safety: none.
class Pacer {
 public:
  static constexpr int64_t kMaxArrears = 2'000'000;

  // `rate`: datagrams per second, above 0.
  Pacer(double rate, int64_t start) : interval_(1e9 / rate), start_(static_cast<double>(start)) {}

  // How many are due at `now` and were not sent. The first one is due at the start.
  uint64_t due(int64_t now) {
    const double late = static_cast<double>(now - kMaxArrears) - time_of(sent_);
    if (late > 0) start_ += late;
    const double until_now = (static_cast<double>(now) - start_) / interval_;
    if (until_now < static_cast<double>(sent_)) return 0;
    return static_cast<uint64_t>(until_now) + 1 - sent_;
  }

  // When `count` more, at least 1, will be due.
  int64_t time_when_due(uint64_t count) const { return static_cast<int64_t>(time_of(sent_ + count - 1)) + 1; }

  void sent(uint64_t count) { sent_ += count; }

 private:
  double time_of(uint64_t datagram) const { return start_ + static_cast<double>(datagram) * interval_; }

  const double interval_;
  double start_;
  uint64_t sent_ = 0;
};

}  // namespace culvert::traffic
