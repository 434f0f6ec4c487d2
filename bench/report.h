// The counters that every benchmark here reports.
#pragma once

#include <benchmark/benchmark.h>

namespace culvert::bench {

// `per_packet` is the time of one of `packets`; `bytes` the rate of `bytes`. Both are totals over all
// iterations.
inline void report(benchmark::State& state, double packets, double bytes) {
  using benchmark::Counter;
  state.counters["per_packet"] = Counter(packets, Counter::kIsRate | Counter::kInvert);
  state.counters["bytes"] = Counter(bytes, Counter::kIsRate);
}

}  // namespace culvert::bench
