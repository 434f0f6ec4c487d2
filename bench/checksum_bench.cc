// The Internet checksum of every engine that the CPU can run, alone and while copying, beside memcpy.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "src/packet/checksum_engine.h"

namespace culvert::bench {
namespace {

// Lengths that take turns; a TCP payload of 64 KiB is the longest there is.
std::vector<PacketMix> lengths() {
  std::vector<PacketMix> all = packet_mixes();
  for (const uint32_t length : {20U, 576U, 8900U, 65483U}) all.push_back({nullptr, {length}});
  return all;
}

// Calls one(destination, source, length) for each length by turns.
template <typename One>
void run_all(benchmark::State& state, const PacketMix& mix, One one) {
  const size_t longest = *std::max_element(mix.bytes.begin(), mix.bytes.end());
  const std::vector<uint8_t> source(longest, 0xa5);
  std::vector<uint8_t> destination(longest);
  for (auto _ : state)
    for (const uint32_t length : mix.bytes) one(destination.data(), source.data(), length);
  const auto iterations = static_cast<double>(state.iterations());
  report(state, iterations * static_cast<double>(mix.bytes.size()),
         iterations * std::accumulate(mix.bytes.begin(), mix.bytes.end(), 0.0));
}

void add(benchmark::State& state, const PacketMix& mix, const packet::ChecksumEngine& engine) {
  run_all(
      state, mix,
      [&engine](uint8_t*, const uint8_t* source, size_t length) {
        benchmark::DoNotOptimize(engine.add(source, length));
      });
}

void copy(benchmark::State& state, const PacketMix& mix, const packet::ChecksumEngine& engine) {
  run_all(
      state, mix,
      [&engine](uint8_t* destination, const uint8_t* source, size_t length) {
        benchmark::DoNotOptimize(engine.copy(destination, source, length));
        benchmark::ClobberMemory();
      });
}

void memcpy_alone(benchmark::State& state, const PacketMix& mix) {
  run_all(
      state, mix,
      [](uint8_t* destination, const uint8_t* source, size_t length) {
        std::memcpy(destination, source, length);
        benchmark::ClobberMemory();
      });
}

template <typename Run>
void add_benchmark(const std::string& name, Run run) {
  for (const PacketMix& mix : lengths()) {
    const std::string length = mix.name != nullptr ? mix.name : std::to_string(mix.bytes[0]);
    benchmark::RegisterBenchmark((name + "/bytes:" + length).c_str(),
                                 [run, mix](benchmark::State& state) { run(state, mix); });
  }
}

}  // namespace

void register_benchmarks() {
  for (const packet::ChecksumEngine& engine : packet::checksum_engines()) {
    if (!engine.runs_here()) continue;
    add_benchmark(
        std::string("add/") + engine.name,
        [&engine](benchmark::State& state, const PacketMix& mix) { add(state, mix, engine); });
    add_benchmark(std::string("copy/") + engine.name,
                  [&engine](benchmark::State& state, const PacketMix& mix) { copy(state, mix, engine); });
  }
  add_benchmark("memcpy", memcpy_alone);
}

}  // namespace culvert::bench
