// Finding the peer of an inner address, by size of the table, and copying a table to publish it.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "bench/main.h"
#include "bench/report.h"
#include "src/protocol/allowed_ips.h"

namespace culvert::bench {
namespace {

using protocol::AllowedIps;
using protocol::IpVersion;
using protocol::PeerHandle;
using protocol::Prefix;

constexpr int64_t kPrefixCounts[] = {1, 100, 10'000, 1'000'000};
constexpr size_t kLookups = 4096;  // addresses that take turns
constexpr size_t kPrefixesPerPeer = 4;

// The prefixes of a table: networks and hosts of all lengths that are in use, nested here and there.
class Table {
 public:
  Table(IpVersion version, size_t prefix_count) : version_(version), peers_(prefix_count / kPrefixesPerPeer + 1) {
    for (size_t i = 0; i < prefix_count; ++i) {
      const Prefix prefix = random_prefix();
      allowed_ips_.insert(prefix, &peers_[i / kPrefixesPerPeer]);
      if (prefixes_.size() < kLookups) prefixes_.push_back(prefix);
    }
  }

  [[nodiscard]] const AllowedIps& allowed_ips() const { return allowed_ips_; }

  // Addresses within prefixes of the table, or anywhere.
  std::vector<Prefix> addresses_inside() {
    std::vector<Prefix> addresses;
    for (size_t i = 0; i < kLookups; ++i) {
      addresses.push_back(prefixes_[i % prefixes_.size()]);
      Prefix& address = addresses.back();
      for (size_t byte = (address.cidr + 7) / 8; byte < address.address.size(); ++byte)
        address.address[byte] = static_cast<uint8_t>(random_());
    }
    return addresses;
  }
  std::vector<Prefix> addresses_anywhere() {
    std::vector<Prefix> addresses;
    for (size_t i = 0; i < kLookups; ++i) addresses.push_back(random_prefix());
    return addresses;
  }

 private:
  Prefix random_prefix() {
    constexpr uint8_t kCidrs4[] = {32, 32, 32, 24, 24, 28, 16, 30};
    constexpr uint8_t kCidrs6[] = {128, 128, 128, 64, 64, 56, 48, 96};
    Prefix prefix;
    prefix.version = version_;
    prefix.cidr = version_ == IpVersion::v4 ? kCidrs4[random_() % 8] : kCidrs6[random_() % 8];
    for (uint8_t& byte : prefix.address) byte = static_cast<uint8_t>(random_());
    return prefix;
  }

  IpVersion version_;
  std::mt19937 random_{3};
  std::vector<protocol::PeerTag> peers_;  // only their addresses matter
  AllowedIps allowed_ips_;
  std::vector<Prefix> prefixes_;
};

// Lookups that do not wait for each other, as those of a batch.
void find(benchmark::State& state, IpVersion version, bool inside) {
  Table table(version, static_cast<size_t>(state.range(0)));
  const std::vector<Prefix> addresses = inside ? table.addresses_inside() : table.addresses_anywhere();
  size_t i = 0;
  size_t found = 0;
  for (auto _ : state) {
    const uint8_t* address = addresses[i].address.data();
    const PeerHandle peer =
        version == IpVersion::v4 ? table.allowed_ips().find_v4(address) : table.allowed_ips().find_v6(address);
    found += peer != nullptr;
    i = (i + 1) % kLookups;
  }
  const auto lookups = static_cast<double>(state.iterations());
  report(state, lookups);
  state.counters["found"] = static_cast<double>(found) / lookups;
}

void copy(benchmark::State& state, IpVersion version) {
  const Table table(version, static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    AllowedIps copied = table.allowed_ips();
    benchmark::DoNotOptimize(copied);
  }
  state.counters["memory_bytes"] = static_cast<double>(table.allowed_ips().memory_bytes());
}

template <typename Run>
void add(const std::string& name, Run run) {
  auto* added = benchmark::RegisterBenchmark(name.c_str(), run)->ArgName("prefixes");
  for (const int64_t count : kPrefixCounts) added->Arg(count);
}

}  // namespace

void register_benchmarks() {
  for (const IpVersion version : {IpVersion::v4, IpVersion::v6}) {
    const std::string suffix = version == IpVersion::v4 ? "/v4" : "/v6";
    add(
        "find/inside" + suffix, [version](benchmark::State& state) { find(state, version, true); });
    add(
        "find/anywhere" + suffix, [version](benchmark::State& state) { find(state, version, false); });
    add("copy" + suffix, [version](benchmark::State& state) { copy(state, version); });
  }
}

}  // namespace culvert::bench
