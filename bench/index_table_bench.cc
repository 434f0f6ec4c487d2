// Finding the keypair of a receiver index, by how many there are: in random order, as messages of many peers
// arrive.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <vector>

#include "bench/main.h"
#include "bench/report.h"
#include "src/protocol/index_table.h"

namespace culvert::bench {
namespace {

constexpr size_t kLookups = 4096;  // indices that take turns

// A table full of keypairs of one owner.
class Table {
 public:
  explicit Table(size_t count) : table_(count) {
    const auto draw = [this] { return static_cast<uint32_t>(random_()); };
    for (size_t i = 0; i < count; ++i) {
      protocol::KeypairParameters parameters;
      parameters.local_index = table_.insert_handshake(&owner_, 0, draw);
      parameters.owner = &owner_;
      keypairs_.push_back(std::make_unique<protocol::Keypair>(std::move(parameters)));
      table_.insert_keypair(keypairs_.back().get());
    }
  }

  [[nodiscard]] const protocol::IndexTable& table() const { return table_; }

  std::vector<uint32_t> present() {
    std::vector<uint32_t> indices;
    for (size_t i = 0; i < kLookups; ++i) indices.push_back(keypairs_[random_() % keypairs_.size()]->local_index());
    return indices;
  }
  std::vector<uint32_t> random() {
    std::vector<uint32_t> indices;
    for (size_t i = 0; i < kLookups; ++i) indices.push_back(static_cast<uint32_t>(random_()));
    return indices;
  }

 private:
  std::mt19937 random_{5};
  protocol::PeerTag owner_;
  protocol::IndexTable table_;
  std::vector<std::unique_ptr<protocol::Keypair>> keypairs_;
};

// Lookups that do not wait for each other, as those of a batch.
void find(benchmark::State& state, bool present) {
  Table table(static_cast<size_t>(state.range(0)));
  const std::vector<uint32_t> indices = present ? table.present() : table.random();
  size_t i = 0;
  size_t found = 0;
  for (auto _ : state) {
    found += table.table().find(indices[i]) != nullptr;
    i = (i + 1) % kLookups;
  }
  const auto lookups = static_cast<double>(state.iterations());
  report(state, lookups);
  state.counters["found"] = static_cast<double>(found) / lookups;
}

void add(const char* name, bool present) {
  auto* added = benchmark::RegisterBenchmark(name, [present](benchmark::State& state) {
                  find(state, present);
                })->ArgName("keypairs");
  // Three of each of 10,000 peers are the most that anybody has had.
  for (const int64_t count : {1, 100, 10'000, 30'000}) added->Arg(count);
}

}  // namespace

void register_benchmarks() {
  add("find/present", true);
  add("find/random", false);
}

}  // namespace culvert::bench
