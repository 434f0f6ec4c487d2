#include "bench/scale_sim/flows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "bench/scale_sim/inner_flow.h"
#include "bench/scale_sim/random.h"

namespace culvert::scale_sim {
namespace {

constexpr packet::FlowHashKey kKey = {{0x243f6a8885a308d3, 0x13198a2e03707344}};

double sum_of_shares(const std::vector<Flow>& flows, bool elastic) {
  double sum = 0;
  for (const Flow& flow : flows) sum += flow.elastic == elastic ? flow.share : 0;
  return sum;
}

double chi_square(const std::vector<uint32_t>& counts, double expected) {
  double sum = 0;
  for (const uint32_t count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// The 1 - 1e-6 quantile of chi-square by Wilson and Hilferty's approximation.
double highest_by_chance(double degrees) {
  const double spread = 2 / (9 * degrees);
  return degrees * std::pow(1 - spread + 4.7534 * std::sqrt(spread), 3);
}

TEST(Flows, AddUpToEverything) {
  for (const Mix mix : kMixes)
    for (const uint32_t count : {1U, 2U, 100U, 1000U}) {
      const std::vector<Flow> flows = make_flows(mix, count, 1);
      EXPECT_EQ(flows.size(), count);
      EXPECT_NEAR(sum_of_shares(flows, false) + sum_of_shares(flows, true), 1, 1e-9) << name_of(mix);
    }
}

TEST(Flows, OfTheMixesAreWhatTheirNamesSay) {
  const std::vector<Flow> elephants = make_flows(Mix::elephants, 50, 1);
  for (const Flow& flow : elephants) {
    EXPECT_TRUE(flow.elastic);
    EXPECT_DOUBLE_EQ(flow.share, 0.02);
  }
  const std::vector<Flow> zipf = make_flows(Mix::zipf, 50, 1);
  EXPECT_NEAR(zipf[0].share / zipf[9].share, 10, 1e-9);
  const std::vector<Flow> mice = make_flows(Mix::mice, 10000, 1);
  const auto by_share = [](const Flow& a, const Flow& b) { return a.share < b.share; };
  const auto [least, most] = std::minmax_element(mice.begin(), mice.end(), by_share);
  EXPECT_LE(most->share / least->share, 1000 + 1e-6);
  EXPECT_GE(most->share / least->share, 100);
  const std::vector<Flow> mixed = make_flows(Mix::mixed, 1000, 1);
  EXPECT_EQ(std::count_if(mixed.begin(), mixed.end(), [](const Flow& flow) { return flow.elastic; }), 10);
  EXPECT_NEAR(sum_of_shares(mixed, true), 0.8, 1e-9);
}

TEST(Flows, HangOnTheSeedAlone) {
  const std::vector<Flow> one = make_flows(Mix::mice, 100, 1), same = make_flows(Mix::mice, 100, 1),
                          other = make_flows(Mix::mice, 100, 2);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].hash, same[i].hash);
    EXPECT_EQ(one[i].share, same[i].share);
    EXPECT_NE(one[i].hash, other[i].hash);
  }
}

TEST(Flows, UseAllPortsEqually) {
  constexpr uint32_t kFlows = 100000;
  const std::vector<Flow> flows = make_flows(Mix::elephants, kFlows, 3);
  for (const uint32_t ports : {2U, 3U, 8U, 64U, 1000U})
    for (const int shift : {0, 32}) {
      std::vector<uint32_t> counts(ports, 0);
      for (const Flow& flow : flows) ++counts[scaled(static_cast<uint32_t>(flow.hash >> shift), ports)];
      EXPECT_LT(chi_square(counts, double{kFlows} / ports), highest_by_chance(ports - 1)) << ports;
    }
}

// Flows of one pair of hosts that differ in consecutive ports alone, as a benchmark opens them; under many keys, since
// a weak hash is uneven under few.
TEST(Flows, OfConsecutivePortsUseAllPortsEquallyUnderEveryKey) {
  constexpr uint32_t kFlows = 5000, kPorts = 8;
  Random random(1);
  for (int round = 0; round < 400; ++round) {
    const packet::FlowHashKey key = {{random.word(), random.word()}};
    for (const int shift : {0, 32}) {
      std::vector<uint32_t> counts(kPorts, 0);
      for (uint32_t i = 0; i < kFlows; ++i) {
        const InnerFlow flow = {round % 2 == 0, 0x0a000001, 0x0a000002, static_cast<uint16_t>(20000 + i), 5201};
        ++counts[scaled(static_cast<uint32_t>(hash_of(flow, key) >> shift), kPorts)];
      }
      EXPECT_LT(chi_square(counts, double{kFlows} / kPorts), highest_by_chance(kPorts - 1)) << round;
    }
  }
}

TEST(Flows, ThatDifferInOneFieldHashDifferently) {
  const InnerFlow flow = {true, 1, 2, 3, 4};
  std::set<uint64_t> hashes = {hash_of(flow, kKey), hash_of(flow, {{8, kKey.words[1]}}),
                               hash_of(flow, {{kKey.words[0], 8}})};
  InnerFlow other = flow;
  other.v6 = false;
  hashes.insert(hash_of(other, kKey));
  other = flow, other.source = 5;
  hashes.insert(hash_of(other, kKey));
  other = flow, other.destination = 5;
  hashes.insert(hash_of(other, kKey));
  other = flow, other.source_port = 5;
  hashes.insert(hash_of(other, kKey));
  other = flow, other.destination_port = 5;
  hashes.insert(hash_of(other, kKey));
  EXPECT_EQ(hashes.size(), 8U);
}

}  // namespace
}  // namespace culvert::scale_sim
