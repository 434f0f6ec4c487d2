// The clocks of the protocol. Nothing here reads one: event loops do, and pass `now` down.
#pragma once

#include <chrono>

namespace culvert::protocol {

// CLOCK_BOOTTIME: monotonic and running on while the machine sleeps, so that keys expire during suspend too.
// A tag for Instant; it has no now().
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock, duration>;
  static constexpr bool is_steady = true;
};

using Duration = BootClock::duration;
using Instant = BootClock::time_point;

// Unix time, CLOCK_REALTIME: for handshake timestamps and for what wg(8) shows, never for timers.
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

}  // namespace culvert::protocol
