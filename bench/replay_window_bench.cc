// The replay window by order of arrival: time per counter that is offered.
#include <benchmark/benchmark.h>

#include "bench/main.h"
#include "bench/report.h"
#include "src/protocol/replay_window.h"

namespace culvert::bench {
namespace {

constexpr uint64_t kTrain = 64;  // counters between two looks at the clock

// Which counter arrives as number `i`.
struct Order {
  const char* name;
  uint64_t (*counter)(uint64_t i);
};

constexpr Order kOrders[] = {
    {"in_order", [](uint64_t i) { return i; }},
    {"neighbours_swapped", [](uint64_t i) { return i ^ 1; }},
    {"trains_backwards", [](uint64_t i) { return i ^ (kTrain - 1); }},
    {"two_paths_4096_apart", [](uint64_t i) { return i % 2 == 0 ? i + 4096 : i; }},
    {"every_counter_twice", [](uint64_t i) { return i / 2; }},
    {"every_64th_arrives", [](uint64_t i) { return i * 64; }},
    {"all_too_old", [](uint64_t i) { return i == 0 ? uint64_t{1} << 40 : i; }},
};

void admit(benchmark::State& state, const Order& order) {
  protocol::ReplayWindow window;
  uint64_t i = 0;
  uint64_t admitted = 0;
  for (auto _ : state)
    for (const uint64_t end = i + kTrain; i < end; ++i) admitted += window.admit(order.counter(i));
  const auto offered = static_cast<double>(i);
  report(state, offered);
  state.counters["admitted"] = static_cast<double>(admitted) / offered;
}

}  // namespace

void register_benchmarks() {
  for (const Order& order : kOrders)
    benchmark::RegisterBenchmark(
        order.name, [&order](benchmark::State& state) { admit(state, order); });
}

}  // namespace culvert::bench
