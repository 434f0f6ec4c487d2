#include "bench/cpu_clock.h"

#include <time.h>

#include <algorithm>

namespace culvert::bench {

CpuClock::time_point CpuClock::now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

CpuClock::duration CpuClock::cost() {
  static const duration measured = [] {
    duration least = duration::max();
    for (int i = 0; i < 10'000; ++i) {
      const time_point start = now();
      least = std::min(least, now() - start);
    }
    return least;
  }();
  return measured;
}

}  // namespace culvert::bench
