// CPU time of the thread, for what cannot be repeated without preparing it anew each time. The wall clock
// would count the time of whoever else runs on the core.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>

namespace culvert::bench {

struct CpuClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<CpuClock>;
  static constexpr bool is_steady = true;

  // Some 350 ns: cost() is to be taken off what is shorter than 100 us or so.
  static time_point now();
  // What lies between two calls of now() with nothing between them. Measured once.
  static duration cost();
  // Cycles of the core in a second of CPU time, by a chain of additions that each take one. Measured once.
  static double cycles_per_second();
};

// Makes start..end the time of this iteration; for benchmarks that use manual time.
inline void set_iteration_time(benchmark::State& state, CpuClock::time_point start, CpuClock::time_point end) {
  state.SetIterationTime(std::chrono::duration<double>(end - start - CpuClock::cost()).count());
}

}  // namespace culvert::bench
