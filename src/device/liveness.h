// Whether a member of a group is alive: the one place that says so.
//
// WireGuard finds a silent peer after 15 s and then asks it for 90 s: too long for flows that could go elsewhere. Here
// only an answer counts, and a member that ought to have sent one is asked early. What counts as an answer is anything
// authentic; of a member without a keypair only a new keypair, as data that it sends us does not carry ours.
//
//   what                                           after
//   ---------------------------------------------  ----------------------------------------------------------------
//   asked: an initiation of ours went out,         whether liveness asks or timers do: a first packet, a rekey
//     and nothing was heard since
//   asked again                                    kAskAgain without an answer
//   dead                                           kGiveUp without an answer; or at once without an endpoint
//   asked, though there is a keypair               kSilence of data sent and nothing heard, while more is sent: traffic
//                                                  one way is answered by itself once in 10 s, which is too late
//   asked, without a keypair                       its group has traffic again: the far end may send by any member, if
//                                                  that one has called it
//   asked, while dead                              every kProbeInterval, as long as the group has traffic
//   alive again                                    an answer
//
// So a flow that goes on stays on a dead member for kSilence + kGiveUp at most, Rekey-Timeout, and on one that never
// answered for kGiveUp. In a group that is idle nobody is asked, nor found dead.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "src/protocol/messages.h"
#include "src/protocol/time.h"

namespace culvert::device {

// Thread safety: none; the control thread owns it.
class Liveness {
 public:
  static constexpr protocol::Duration kSilence = std::chrono::seconds(3);
  static constexpr protocol::Duration kAskAgain = std::chrono::seconds(1);
  static constexpr protocol::Duration kGiveUp = std::chrono::seconds(2);
  static constexpr protocol::Duration kLately = protocol::kKeepaliveTimeout;
  static_assert(kSilence + kGiveUp <= protocol::kRekeyTimeout);
  // Not before the throttle of initiations is open again.
  static constexpr protocol::Duration kProbeInterval =
      protocol::kRekeyTimeout + protocol::kRekeyTimeoutJitterMax + std::chrono::milliseconds(67);

  // What a look at the member finds.
  struct Signs {
    uint64_t received_bytes = 0;                        // authentic ones, ever
    uint64_t sent_bytes = 0;                            // ever
    std::optional<protocol::Instant> unanswered_since;  // TimerMarks::unanswered_since()
    bool can_send = false;                              // has a keypair for it
    bool has_endpoint = false;
    bool group_has_traffic = false;
  };

  enum class Wish : uint8_t {
    nothing,
    ask,    // an initiation at once, whatever the throttle says
    probe,  // an initiation when the throttle allows it
  };

  bool alive() const { return answers_ && has_endpoint_; }

  // An initiation went out.
  void initiated(uint64_t received_bytes, protocol::Instant now);

  // Takes in the signs. What it wishes for is wished for once.
  [[nodiscard]] Wish look(const Signs& signs, protocol::Instant now);

  // Whether the last look found that something was sent since the look before it, and that one was not long ago: what
  // nobody looked at in time is no traffic of now.
  bool has_sent() const { return has_sent_; }

  // When to look next, going by the last look; nothing: when the member's timers have something. `has_traffic`: or had
  // a moment ago (Timers::watching()).
  std::optional<protocol::Instant> next_look(bool has_traffic, protocol::Instant now) const;

  // The interface went down: all is forgotten.
  void reset() { *this = Liveness(); }

 private:
  Wish wish(protocol::Instant now);

  bool answers_ = true;
  bool has_endpoint_ = true;
  std::optional<protocol::Instant> asked_;  // first of what was not answered yet
  bool asked_again_ = false;
  bool has_sent_ = false;
  std::optional<protocol::Instant> looked_;
  Signs last_;  // signs
};

}  // namespace culvert::device
