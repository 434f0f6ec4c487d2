#include "io/steering_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace culvert::io {
namespace {

std::vector<size_t> shares(const SteeringTable& table) {
  std::vector<size_t> shares(table.workers());
  for (const uint8_t worker : table.entries()) ++shares.at(worker);
  return shares;
}

size_t most(const SteeringTable& table) {
  const std::vector<size_t> all = shares(table);
  return *std::max_element(all.begin(), all.end());
}

size_t least(const SteeringTable& table) {
  const std::vector<size_t> all = shares(table);
  return *std::min_element(all.begin(), all.end());
}

size_t equal_neighbours(const SteeringTable& table) {
  size_t count = 0;
  for (size_t slot = 0; slot < kSlots; ++slot) count += table.worker(slot) == table.worker(slot + 1);
  return count;
}

TEST(SteeringTableTest, ANewOneDealsTheSlotsOutInTurn) {
  for (const size_t workers : {1u, 2u, 3u, 8u, 100u, 128u}) {
    const SteeringTable table(workers);
    EXPECT_EQ(table.workers(), workers);
    for (size_t slot = 0; slot < kSlots; ++slot) ASSERT_EQ(table.worker(slot), slot % workers);
  }
}

TEST(SteeringTableTest, TakesImpossibleNumbersForTheNearest) {
  EXPECT_EQ(SteeringTable(0), SteeringTable(1));
  EXPECT_EQ(SteeringTable(1000), SteeringTable(kMaxWorkers));
  SteeringTable table(3);
  table.resize(0);
  EXPECT_EQ(table, SteeringTable(1));
  table.resize(1000);
  EXPECT_EQ(table.workers(), kMaxWorkers);
  EXPECT_EQ(most(table), 1u);
}

TEST(SteeringTableTest, StaysBalancedThroughAnyChanges) {
  std::minstd_rand random(8);
  SteeringTable table;
  for (int i = 0; i < 300; ++i) {
    table.resize(1 + random() % kMaxWorkers);
    ASSERT_EQ(shares(table).size(), table.workers());
    ASSERT_LE(most(table) - least(table), 1u) << table.workers() << " workers";
  }
}

TEST(SteeringTableTest, MovesNoMoreSlotsThanBalanceAsksFor) {
  std::minstd_rand random(9);
  SteeringTable table;
  for (int i = 0; i < 300; ++i) {
    const SteeringTable before = table;
    table.resize(1 + random() % kMaxWorkers);
    size_t newcomers = 0, leavers = 0;
    for (size_t slot = 0; slot < kSlots; ++slot) {
      newcomers += table.worker(slot) >= before.workers();
      leavers += before.worker(slot) >= table.workers();
    }
    ASSERT_EQ(moves_between(before, table).slots, newcomers + leavers) << before.workers() << " to " << table.workers();
    const size_t added = table.workers() - std::min(before.workers(), table.workers());
    ASSERT_LE(newcomers, added * most(table));
  }
}

TEST(SteeringTableTest, KeepsNeighboursOnDifferentWorkers) {
  for (size_t from = 2; from <= 16; ++from)
    for (size_t to = 2; to <= 16; ++to) {
      SteeringTable table(from);
      table.resize(to);
      // With two workers left, a slot between one of each leaves no choice; with three there is little.
      const size_t bound = to == 2 ? 3 * kSlots / 8 : to == 3 ? kSlots / 5 : kSlots / 8;
      EXPECT_LE(equal_neighbours(table), bound) << from << " to " << to;
    }
}

TEST(SteeringTableTest, ConsecutivePortsFallOnAllWorkersAlikeAlsoAfterGrowth) {
  for (size_t workers = 2; workers <= 8; ++workers) {
    SteeringTable table;
    table.resize(workers);
    for (uint16_t first = 0; first < kSlots; ++first) {
      std::vector<size_t> hits(workers);
      for (uint16_t port = first; port < first + 2 * workers; ++port)
        ++hits[table.worker(slot_of(kSpreadBit | 5 << kHomeSlotShift, port))];
      EXPECT_LE(*std::max_element(hits.begin(), hits.end()), 4u) << workers << " workers from port " << first;
    }
  }
}

TEST(SteeringTableTest, NamesThoseWhoGainAndLose) {
  SteeringTable after(2);
  after.resize(3);
  const SlotMoves grown = moves_between(SteeringTable(2), after);
  EXPECT_EQ(grown.gaining.to_ulong(), 0b100u);
  EXPECT_EQ(grown.losing.to_ulong(), 0b011u);
  EXPECT_EQ(grown.slots, kSlots / 3);
  const SlotMoves shrunk = moves_between(SteeringTable(2), SteeringTable(1));
  EXPECT_EQ(shrunk.gaining.to_ulong(), 0b01u);
  EXPECT_EQ(shrunk.losing.to_ulong(), 0b10u);
  EXPECT_EQ(moves_between(after, after).slots, 0u);
}

TEST(SlotOfTest, IsTheHomeSlotAndWithTheSpreadBitThePortBesides) {
  EXPECT_EQ(slot_of(0x05abcdef, 7), 5u);
  EXPECT_EQ(slot_of(0x7fffffff, 7), 127u);
  EXPECT_EQ(slot_of(0x85abcdef, 7), 12u);
  EXPECT_EQ(slot_of(0xff000000, 1), 0u);
  EXPECT_EQ(slot_of(0x80000000, 51820), 51820u % 128);
}

}  // namespace
}  // namespace culvert::io
