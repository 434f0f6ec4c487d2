#include "src/protocol/index_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace culvert::protocol {
namespace {

std::unique_ptr<Keypair> make_keypair(uint32_t index) {
  KeypairParameters parameters;
  parameters.local_index = index;
  return std::make_unique<Keypair>(std::move(parameters));
}

IndexRandom from_list(std::vector<uint32_t> values) {
  return [values = std::move(values), i = size_t{0}]() mutable { return values.at(i++); };
}

IndexRandom from_seed(uint32_t seed) {
  return [engine = std::mt19937(seed)]() mutable { return static_cast<uint32_t>(engine()); };
}

TEST(IndexTable, HandshakeBecomesKeypairAndGoes) {
  IndexTable table;
  PeerTag peer;
  const uint32_t index = table.insert_handshake(&peer, 0xde, from_list({0xadbeef}));
  EXPECT_EQ(index, 0xdeadbeef);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.find(index), nullptr) << "workers see no handshakes";
  EXPECT_EQ(table.find_handshake(index), &peer);
  EXPECT_EQ(table.find_peer(index), &peer);

  const auto keypair = make_keypair(index);
  table.insert_keypair(keypair.get());
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.find(index), keypair.get());
  EXPECT_EQ(table.find_handshake(index), nullptr);
  EXPECT_EQ(table.find_peer(index), &peer);

  table.erase(index);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.find(index), nullptr);
  EXPECT_EQ(table.find_peer(index), nullptr);
}

TEST(IndexTable, KnowsNoIndexButThoseInserted) {
  IndexTable table(16);
  PeerTag peer;
  const uint32_t index = table.insert_handshake(&peer, 0, from_list({5}));
  const auto keypair = make_keypair(index);
  table.insert_keypair(keypair.get());
  const uint32_t same_slot = index + 64;
  EXPECT_EQ(table.find(same_slot), nullptr);
  EXPECT_EQ(table.find_peer(same_slot), nullptr);
  EXPECT_EQ(table.find_handshake(same_slot), nullptr);
  EXPECT_EQ(table.find(6), nullptr);
  table.erase(same_slot);
  EXPECT_EQ(table.find(index), keypair.get()) << "erasing an unknown index removes nothing";
}

TEST(IndexTable, DrawsAgainUntilTheSlotIsFree) {
  IndexTable table(16);
  PeerTag peer;
  EXPECT_EQ(table.insert_handshake(&peer, 0, from_list({1})), 1u);
  EXPECT_EQ(table.insert_handshake(&peer, 0, from_list({1, 65, 129, 2})), 2u);
}

TEST(IndexTable, GivesEveryIndexTheTopByteThatWasAskedFor) {
  IndexTable table(512);
  PeerTag peer;
  const IndexRandom random = from_seed(5);
  for (unsigned top = 0; top < 256; ++top)
    EXPECT_EQ(top_byte_of(table.insert_handshake(&peer, static_cast<uint8_t>(top), random)), top);
}

// Each of 10,000 peers has all the indices that a peer may have, all 128 slots the same number of them.
TEST(IndexTable, HandsOutNoIndexTwiceToTenThousandPeersWithHomeSlots) {
  constexpr size_t kPeers = 10'000, kIndicesOfAPeer = 4;
  auto table = std::make_unique<IndexTable>();
  std::vector<PeerTag> peers(kPeers);
  std::map<uint32_t, PeerTag*> owners;
  const IndexRandom random = from_seed(6);
  for (size_t i = 0; i < kPeers * kIndicesOfAPeer; ++i) {
    if (table->full()) table = table->grown();
    PeerTag* const peer = &peers[i % kPeers];
    const auto home = static_cast<uint8_t>(i % kPeers % kHomeSlots);
    const uint32_t index = table->insert_handshake(peer, home, random);
    ASSERT_EQ(top_byte_of(index), home);
    ASSERT_TRUE(owners.emplace(index, peer).second) << index << " was handed out before";
  }
  EXPECT_EQ(table->size(), kPeers * kIndicesOfAPeer);
  for (const auto& [index, peer] : owners) ASSERT_EQ(table->find_handshake(index), peer);
}

TEST(IndexTable, LoadStaysAtOneQuarter) {
  IndexTable table(16);
  EXPECT_EQ(table.capacity(), 16u);
  PeerTag peer;
  const IndexRandom random = from_seed(1);
  for (int i = 0; i < 16; ++i) {
    EXPECT_FALSE(table.full());
    (void)table.insert_handshake(&peer, 0, random);
  }
  EXPECT_TRUE(table.full());
}

TEST(IndexTable, GrowingKeepsEveryIndex) {
  const IndexRandom random = from_seed(2);
  auto table = std::make_unique<IndexTable>(4);
  std::map<uint32_t, std::unique_ptr<Keypair>> keypairs;
  std::map<uint32_t, PeerTag*> handshakes;
  std::vector<PeerTag> peers(5000);
  std::mt19937 choice(3);
  for (PeerTag& peer : peers) {
    if (table->full()) {
      auto bigger = table->grown();
      EXPECT_EQ(bigger->size(), table->size());
      EXPECT_EQ(bigger->capacity(), 2 * table->capacity());
      table = std::move(bigger);
    }
    const uint32_t index = table->insert_handshake(&peer, 0, random);
    if (choice() % 2 == 0) {
      keypairs[index] = make_keypair(index);
      table->insert_keypair(keypairs[index].get());
    } else {
      handshakes[index] = &peer;
    }
    if (choice() % 3 == 0 && !keypairs.empty()) {
      table->erase(keypairs.begin()->first);
      keypairs.erase(keypairs.begin());
    }
  }
  EXPECT_EQ(table->size(), keypairs.size() + handshakes.size());
  for (const auto& [index, keypair] : keypairs) ASSERT_EQ(table->find(index), keypair.get());
  for (const auto& [index, peer] : handshakes) {
    ASSERT_EQ(table->find_handshake(index), peer);
    ASSERT_EQ(table->find(index), nullptr);
  }
}

TEST(IndexTable, WorkersLookUpWhileTheControlThreadChangesIt) {
  IndexTable table(64);
  PeerTag peer;
  const IndexRandom random = from_seed(4);
  // All keypairs live until the end: here this stands for the grace period.
  std::vector<std::unique_ptr<Keypair>> keypairs;
  std::vector<std::atomic<uint32_t>> recent(16);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::thread worker([&] {
    while (!stop.load()) {
      for (const auto& r : recent) {
        const uint32_t index = r.load(std::memory_order_relaxed);
        const Keypair* keypair = table.find(index);
        if (keypair != nullptr && keypair->local_index() != index) ++wrong;
      }
    }
  });
  for (size_t i = 0; i < 20'000; ++i) {
    std::atomic<uint32_t>& place = recent[i % recent.size()];
    if (i >= recent.size()) table.erase(place.load(std::memory_order_relaxed));
    const uint32_t index = table.insert_handshake(&peer, 0, random);
    keypairs.push_back(make_keypair(index));
    table.insert_keypair(keypairs.back().get());
    place.store(index, std::memory_order_relaxed);
  }
  stop = true;
  worker.join();
  EXPECT_EQ(wrong.load(), 0u);
}

}  // namespace
}  // namespace culvert::protocol
