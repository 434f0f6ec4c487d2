// TAI64N timestamps (https://cr.yp.to/libtai/tai64.html), as initiations carry them against replay (WireGuard
// paper section 5.4.2).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

#include "src/protocol/time.h"

namespace culvert::protocol {

inline constexpr size_t kTai64nBytes = 12;

// Seconds (8 bytes) and nanoseconds (4 bytes), both big-endian, so that bytes compare as times do. All zeros
// is earlier than any time.
struct Tai64n {
  std::array<uint8_t, kTai64nBytes> bytes{};

  // clang-tidy 14 takes the 0 that a < b is compared with for a null pointer.
  // NOLINTNEXTLINE(modernize-use-nullptr)
  friend auto operator<=>(const Tai64n&, const Tai64n&) = default;
};

// The timestamp of a wall-clock time, whitened: nanoseconds are rounded down to a multiple of 2^24 (16.8 ms),
// the largest power of two within the 20 ms that initiations keep apart, so that it leaks no precise timer
// (kernel: tai64n_now).
Tai64n tai64n(WallTime now);

}  // namespace culvert::protocol
