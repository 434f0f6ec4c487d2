// The sliding window that refuses counters already seen (WireGuard paper section 5.4.6; RFC 6479 without the
// bit shifting).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "src/protocol/messages.h"

namespace culvert::protocol {

// Thread safety: none; Keypair holds a lock around a batch of calls.
//
// Invariants: 1. no counter is admitted twice; 2. every counter that is not kWindow or more below the highest
// admitted one, and was not admitted before, is admitted; 3. the highest counter only grows.
class ReplayWindow {
 public:
  // What was sent to us and what arrived of it; the difference is lost or still on its way. Both only grow.
  struct Reception {
    uint64_t expected = 0;  // the highest admitted counter + 1
    uint64_t admitted = 0;
  };

  // One word of the bitmap is always being recycled.
  static constexpr uint64_t kWindow = kReplayWindowBits - 64;

  // Call after the message was found authentic, never before. False: replayed, too old, or not below
  // kRejectAfterMessages.
  [[nodiscard]] bool admit(uint64_t counter);

  Reception reception() const { return {next_, admitted_}; }

 private:
  static constexpr size_t kWords = kReplayWindowBits / 64;

  uint64_t next_ = 0;  // the highest admitted counter + 1
  uint64_t admitted_ = 0;
  std::array<uint64_t, kWords> seen_{};
};

}  // namespace culvert::protocol
