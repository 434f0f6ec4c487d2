#include "src/device/liveness.h"

#include <utility>

namespace culvert::device {

void Liveness::initiated(uint64_t received_bytes, protocol::Instant now) {
  if (asked_) return;
  last_.received_bytes = received_bytes;  // what came before is no answer
  asked_ = now;
  asked_again_ = false;
}

Liveness::Wish Liveness::look(const Signs& signs, protocol::Instant now) {
  const bool heard = signs.received_bytes != last_.received_bytes;
  const bool has_new_keypair = signs.can_send && !last_.can_send;
  const bool looked_lately = looked_ && now - *looked_ <= kLately;
  has_sent_ = looked_lately && signs.sent_bytes != last_.sent_bytes;
  looked_ = now;
  has_endpoint_ = signs.has_endpoint;
  last_ = signs;
  if (signs.can_send && (heard || has_new_keypair)) {
    answers_ = true;
    asked_.reset();
  }
  if (asked_ && now >= *asked_ + kGiveUp) answers_ = false;
  return wish(now);
}

Liveness::Wish Liveness::wish(protocol::Instant now) {
  if (!has_endpoint_) return Wish::nothing;
  if (!answers_) return last_.group_has_traffic ? Wish::probe : Wish::nothing;
  if (asked_) return now >= *asked_ + kAskAgain && !std::exchange(asked_again_, true) ? Wish::ask : Wish::nothing;
  if (!last_.can_send && last_.group_has_traffic) return Wish::probe;
  const bool silent = last_.unanswered_since && now >= *last_.unanswered_since + kSilence;
  return silent && has_sent_ ? Wish::ask : Wish::nothing;
}

std::optional<protocol::Instant> Liveness::next_look(bool has_traffic, protocol::Instant now) const {
  if (!has_endpoint_) return std::nullopt;  // a new one makes itself known
  if (!answers_) return last_.group_has_traffic ? std::optional(now + kProbeInterval) : std::nullopt;
  if (asked_) return *asked_ + (asked_again_ ? kGiveUp : kAskAgain);
  if (!has_traffic) return std::nullopt;
  if (!last_.unanswered_since) return now + kSilence;
  // Once shortly before, to see whether what is sent goes on.
  for (const protocol::Duration after : {kSilence - kAskAgain, kSilence})
    if (now < *last_.unanswered_since + after) return *last_.unanswered_since + after;
  return now + kAskAgain;
}

}  // namespace culvert::device
