// ChaCha20-Poly1305 of packets: our engines and the libraries, in one binary and one run.
//
// A benchmark is called DIRECTION/bytes:SIZE/batch:COUNT/TEMPERATURE/keys:COUNT/CONTENDER, so that
// --benchmark_filter picks any slice; one iteration is one batch. `per_packet` is the time of one packet,
// `bytes` the plaintext bytes per second. Contenders of a cell are neighbours: a run is a round in which they
// are measured in turn, and only ratios within a round mean anything on a shared machine. tools/bench-aead
// does several rounds and prints the medians.
#include <benchmark/benchmark.h>
#include <openssl/crypto.h>

#include <cstdio>
#include <cstdlib>
#include <tuple>

#include "bench/aead_agreement.h"
#include "bench/aead_contender.h"
#include "bench/aead_ring.h"
#include "bench/main.h"
#include "bench/report.h"
#include "crypto/cpu.h"

namespace culvert::bench {
namespace {

constexpr PacketSize kSizes[] = {0, 64, 256, 576, 1420, 8900, std::nullopt};
constexpr size_t kBatches[] = {1, 2, 4, 8, 16, 32, 64, 128};
constexpr size_t kKeyCounts[] = {1, kKeyCount};
constexpr Temperature kTemperatures[] = {Temperature::kCold, Temperature::kHot};

enum class Direction { kSeal, kOpen };

struct Cell {
  Direction direction;
  PacketSize size;
  size_t batch;
  Temperature temperature;
  size_t key_count;
};

std::string name_of(const Cell& cell, const Contender& contender) {
  return std::string(cell.direction == Direction::kSeal ? "seal" : "open") +
         "/bytes:" + (cell.size ? std::to_string(*cell.size) : "imix") + "/batch:" + std::to_string(cell.batch) +
         (cell.temperature == Temperature::kCold ? "/cold" : "/hot") + "/keys:" + std::to_string(cell.key_count) + "/" +
         contender.name();
}

// Neighbouring benchmarks share their ring; only one is kept.
Ring& ring_of(const Cell& cell) {
  static std::optional<Ring> ring;
  static std::tuple<PacketSize, size_t> made_for;
  const std::tuple wanted(cell.size, cell.key_count);
  if (!ring || made_for != wanted) {
    ring.emplace(cell.size, cell.key_count);
    made_for = wanted;
  }
  return *ring;
}

void run(benchmark::State& state, const Cell& cell, Contender& contender) {
  Ring& ring = ring_of(cell);
  if (cell.direction == Direction::kSeal) {
    for (auto _ : state) contender.seal(ring.next_to_seal(cell.temperature, cell.batch));
  } else {
    size_t authentic = 0;
    for (auto _ : state) authentic += contender.open(ring.next_to_open(cell.temperature, cell.batch));
    if (authentic != static_cast<size_t>(state.iterations()) * cell.batch)
      state.SkipWithError("a message was not authentic");
  }
  const double packets = static_cast<double>(state.iterations()) * static_cast<double>(cell.batch);
  report(state, packets, packets * mean_bytes(cell.size));
}

void add(const Cell& cell, Contender& contender) {
  benchmark::RegisterBenchmark(
      name_of(cell, contender).c_str(), [cell, &contender](benchmark::State& state) { run(state, cell, contender); });
}

void add_all(const Contenders& contenders) {
  for (const size_t key_count : kKeyCounts)
    for (const PacketSize size : kSizes)
      for (const Temperature temperature : kTemperatures)
        for (const size_t batch : kBatches)
          for (const Direction direction : {Direction::kSeal, Direction::kOpen})
            for (const auto& contender : contenders) add({direction, size, batch, temperature, key_count}, *contender);
}

void add_context() {
  const char* mask = std::getenv("OPENSSL_ia32cap");
  benchmark::AddCustomContext("cpu_features", crypto::describe(crypto::cpu_features()));
  benchmark::AddCustomContext("openssl", OpenSSL_version(OPENSSL_VERSION));
  benchmark::AddCustomContext("openssl_ia32cap", mask != nullptr ? mask : "not set");
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::AddCustomContext("l2_bytes", std::to_string(l2_bytes()));
}

}  // namespace

void register_benchmarks() {
  static Contenders contenders;  // the benchmarks refer to them
  add_culvert(contenders);
  add_libsodium(contenders);
  add_openssl(contenders);
  add_ipsec_mb(contenders);
  const std::string disagreement = find_disagreement(contenders);
  if (!disagreement.empty()) {
    std::fprintf(stderr, "aead_bench: %s\n", disagreement.c_str());
    std::exit(1);
  }
  add_context();
  add_all(contenders);
}

}  // namespace culvert::bench
