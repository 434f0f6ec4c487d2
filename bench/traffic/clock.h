// Time of the traffic programs: CLOCK_MONOTONIC in nanoseconds, the same in every network namespace of a machine.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ctime>

namespace culvert::traffic {

inline constexpr int64_t kSecond = 1'000'000'000;

inline int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

// Returns at `when` or, if that has passed, at once. Not late by the timer slack if the caller has set it to
// 1 ns (prctl(2), PR_SET_TIMERSLACK).
inline void sleep_until(int64_t when) {
  const timespec time{when / kSecond, when % kSecond};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) {
  }
}

inline double seconds_of(int64_t ns) {
  return static_cast<double>(ns) / kSecond;
}

}  // namespace culvert::traffic
