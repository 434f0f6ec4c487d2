// The clocks, for event loops alone: everything below them takes `now` as a parameter.
#pragma once

#include <ctime>

#include "src/protocol/time.h"

namespace culvert::pipeline {

// A clock of event loops; tests give them another one.
using BootClockReader = protocol::Instant (*)();

inline protocol::Instant read_boot_clock() {
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return protocol::Instant(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

inline protocol::WallTime read_wall_clock() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return protocol::WallTime(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

}  // namespace culvert::pipeline
