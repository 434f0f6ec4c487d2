// The Internet checksum of every engine that the CPU can run, alone and while copying, beside memcpy.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "bench/main.h"
#include "bench/report.h"
#include "tun/checksum_engine.h"

namespace culvert::bench {
namespace {

constexpr int64_t kLengths[] = {20, 64, 576, 1420, 8900, 65483};

void report_iterations(benchmark::State& state) {
  const auto iterations = static_cast<double>(state.iterations());
  report(state, iterations, iterations * static_cast<double>(state.range(0)));
}

struct Buffers {
  explicit Buffers(const benchmark::State& state)
      : length(static_cast<size_t>(state.range(0))), source(length, 0xa5), destination(length) {}

  size_t length;
  std::vector<uint8_t> source;
  std::vector<uint8_t> destination;
};

void add(benchmark::State& state, const tun::ChecksumEngine& engine) {
  const Buffers buffers(state);
  for (auto _ : state) benchmark::DoNotOptimize(engine.add(buffers.source.data(), buffers.length));
  report_iterations(state);
}

void copy(benchmark::State& state, const tun::ChecksumEngine& engine) {
  Buffers buffers(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(engine.copy(buffers.destination.data(), buffers.source.data(), buffers.length));
    benchmark::ClobberMemory();
  }
  report_iterations(state);
}

void memcpy_alone(benchmark::State& state) {
  Buffers buffers(state);
  for (auto _ : state) {
    std::memcpy(buffers.destination.data(), buffers.source.data(), buffers.length);
    benchmark::ClobberMemory();
  }
  report_iterations(state);
}

template <typename Run>
void add_benchmark(const std::string& name, Run run) {
  auto* added = benchmark::RegisterBenchmark(name.c_str(), run)->ArgName("bytes");
  for (const int64_t length : kLengths) added->Arg(length);
}

}  // namespace

void register_benchmarks() {
  for (const tun::ChecksumEngine& engine : tun::checksum_engines()) {
    if (!engine.runs_here()) continue;
    add_benchmark(std::string("add/") + engine.name,
                  [&engine](benchmark::State& state) { add(state, engine); });
    add_benchmark(std::string("copy/") + engine.name,
                  [&engine](benchmark::State& state) { copy(state, engine); });
  }
  add_benchmark("memcpy", memcpy_alone);
}

}  // namespace culvert::bench
