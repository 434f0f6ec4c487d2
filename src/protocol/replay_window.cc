#include "src/protocol/replay_window.h"

#include <algorithm>

namespace culvert::protocol {

bool ReplayWindow::admit(uint64_t counter) {
  // The sum cannot wrap: kRejectAfterMessages is 2^13 + 1 below 2^64.
  static_assert(kRejectAfterMessages + kWindow > kRejectAfterMessages);
  if (counter >= kRejectAfterMessages || counter + kWindow < next_) return false;

  const uint64_t word = counter / 64;
  if (counter >= next_) {
    const uint64_t top_word = next_ == 0 ? 0 : (next_ - 1) / 64;
    const uint64_t recycled = std::min<uint64_t>(word - top_word, kWords);
    for (uint64_t i = 1; i <= recycled; ++i) seen_[(top_word + i) % kWords] = 0;
    next_ = counter + 1;
  }
  const uint64_t bit = uint64_t{1} << (counter % 64);
  uint64_t& seen = seen_[word % kWords];
  if ((seen & bit) != 0) return false;
  seen |= bit;
  ++admitted_;
  return true;
}

}  // namespace culvert::protocol
