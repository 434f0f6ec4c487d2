// The counters that every benchmark here reports.
#pragma once

#include <benchmark/benchmark.h>

#include "bench/cpu_clock.h"

namespace culvert::bench {

// `per_packet` is the time of one of `packets`, `cycles_per_packet` the same in cycles of the core, which the
// console prints as if they were seconds. `packets` is a total over all iterations.
inline void report(benchmark::State& state, double packets) {
  using benchmark::Counter;
  state.counters["per_packet"] = Counter(packets, Counter::kIsRate | Counter::kInvert);
  state.counters["cycles_per_packet"] =
      Counter(packets / CpuClock::cycles_per_second(), Counter::kIsRate | Counter::kInvert);
}

// Beside that, `bytes` is the rate of `bytes` and `cycles_per_byte` what one costs.
inline void report(benchmark::State& state, double packets, double bytes) {
  using benchmark::Counter;
  report(state, packets);
  state.counters["bytes"] = Counter(bytes, Counter::kIsRate);
  state.counters["cycles_per_byte"] =
      Counter(bytes / CpuClock::cycles_per_second(), Counter::kIsRate | Counter::kInvert);
}

// What a whole path costs beside the AEAD: `aead` and `other` are times of one packet, and their sum is
// `per_packet`.
inline void report_share(benchmark::State& state, double packets, CpuClock::duration all, CpuClock::duration aead) {
  const auto per_packet = [packets](CpuClock::duration time) {
    return std::chrono::duration<double>(time).count() / packets;
  };
  state.counters["aead"] = per_packet(aead);
  state.counters["other"] = per_packet(all - aead);
}

}  // namespace culvert::bench
