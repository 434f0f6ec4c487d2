#include "bench/scale_sim/nic.h"

#include <gtest/gtest.h>

#include <set>

namespace culvert::scale_sim {
namespace {

constexpr OuterTuple kTuple = {0x42'09'95'bb, 0xa1'8e'64'50, 2794, 1766};  // the first verification vector

std::set<uint32_t> queues_of_ports(const Nic& nic, uint32_t ports) {
  std::set<uint32_t> queues;
  for (uint32_t port = 0; port < ports; ++port) {
    OuterTuple tuple = kTuple;
    tuple.source_port = static_cast<uint16_t>(1024 + port);
    queues.insert(nic.queue(tuple));
  }
  return queues;
}

TEST(Nic, HashesTheFieldsThatItIsToldTo) {
  EXPECT_EQ(Nic({NicModel::ixgbe, HashFields::l3}, 8, {}).hash(kTuple), 0x323e8fc2U);
  EXPECT_EQ(Nic({NicModel::ixgbe, HashFields::l4}, 8, {}).hash(kTuple), 0x51ccc178U);
}

TEST(Nic, WithTheSourcePortAloneLooksAtNoOtherPort) {
  const Nic nic({NicModel::mlx5, HashFields::l4_source_only}, 8, {});
  OuterTuple other = kTuple;
  other.destination_port = 51820;
  EXPECT_EQ(nic.hash(kTuple), nic.hash(other));
  other.source_port = 1;
  EXPECT_NE(nic.hash(kTuple), nic.hash(other));
}

TEST(Nic, SpreadsManyPortsOverAllItsQueues) {
  for (const NicModel model : {NicModel::mlx5, NicModel::ixgbe})
    for (const HashFields fields : {HashFields::l4, HashFields::l4_source_only}) {
      const Nic nic({model, fields}, 16, {});
      EXPECT_EQ(queues_of_ports(nic, 4096).size(), 16U);
    }
}

TEST(Nic, WithAddressesAloneGivesAllPortsOneQueue) {
  EXPECT_EQ(queues_of_ports(Nic({NicModel::mlx5, HashFields::l3}, 16, {}), 4096).size(), 1U);
}

TEST(Nic, HasTheTableAndTheQueuesOfItsModel) {
  struct Case {
    NicOptions options;
    uint32_t cores, queues;
    size_t entries;
  };
  const Case cases[] = {
      {{NicModel::mlx5}, 12, 12, 512},
      {{NicModel::mlx5}, 8, 8, 8},  // a power of two: no more entries than queues
      {{NicModel::mlx5, HashFields::l4, 128}, 8, 8, 128},
      {{NicModel::ixgbe}, 8, 8, 128},
      {{NicModel::ixgbe}, 128, 16, 128},
      {{NicModel::ixgbe, HashFields::l4, 512}, 128, 64, 512},
      {{NicModel::linux}, 128, 128, 128},
      {{NicModel::rps}, 128, 128, 128},
      {{NicModel::rps}, 3, 3, 3},
      {{NicModel::mlx5}, 1, 1, 1},
  };
  for (const Case& c : cases) {
    const Nic nic(c.options, c.cores, {});
    EXPECT_EQ(nic.queues(), c.queues);
    EXPECT_EQ(nic.table_entries(), c.entries);
  }
}

TEST(Nic, ByRpsSpreadsPortsAsAtRandom) {
  constexpr uint32_t kPorts = 30000, kQueues = 3;
  RssKey key = {};
  key.fill(0x55);
  const Nic nic({NicModel::rps}, kQueues, key);
  std::array<uint32_t, kQueues> counts = {};
  for (uint32_t port = 0; port < kPorts; ++port) {
    OuterTuple tuple = kTuple;
    tuple.source_port = static_cast<uint16_t>(1024 + port);
    ++counts[nic.queue(tuple)];
  }
  for (const uint32_t count : counts) EXPECT_NEAR(count, kPorts / kQueues, 400);  // 5 standard deviations
}

TEST(Nic, OfLinuxTakesTheRandomKey) {
  RssKey one = {}, other = {};
  one.fill(0x55);
  other.fill(0x2c);
  const NicOptions options = {NicModel::linux};
  EXPECT_NE(Nic(options, 8, one).hash(kTuple), Nic(options, 8, other).hash(kTuple));
  EXPECT_EQ(Nic({NicModel::mlx5}, 8, one).hash(kTuple), Nic({NicModel::mlx5}, 8, other).hash(kTuple));
}

}  // namespace
}  // namespace culvert::scale_sim
