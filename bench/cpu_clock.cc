#include "bench/cpu_clock.h"

#include <time.h>

#include <algorithm>
#include <cstdint>

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

double CpuClock::cycles_per_second() {
  static const double measured = [] {
    constexpr int kRounds = 20, kAdditions = 1'000'000;
    duration least = duration::max();
    for (int round = 0; round < kRounds; ++round) {
      uint64_t sum = 0;
      const uint64_t step = 3;
      const time_point start = now();
      for (int i = 0; i < kAdditions; i += 10) {
        // Of a register: some CPUs take chains of constants apart before they execute anything.
        asm volatile(
            "add %1, %0; add %1, %0; add %1, %0; add %1, %0; add %1, %0;"
            "add %1, %0; add %1, %0; add %1, %0; add %1, %0; add %1, %0"
            : "+r"(sum)
            : "r"(step)
            : "cc");
      }
      least = std::min(least, now() - start - cost());
    }
    return kAdditions / std::chrono::duration<double>(least).count();
  }();
  return measured;
}

}  // namespace culvert::bench
