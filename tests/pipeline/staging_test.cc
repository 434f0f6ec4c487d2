#include "src/pipeline/staging.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "src/protocol/messages.h"
#include "tests/pipeline/peers.h"

namespace culvert::pipeline {
namespace {

using protocol::kMaxStagedPackets;
using test::TestPeer;

class StagingTest : public testing::Test {
 protected:
  // A packet whose bytes all are `n`; the memory is reused for the next one, as a queue does.
  io::Superpacket packet(uint8_t n, size_t bytes = 100) {
    bytes_.assign(bytes, n);
    io::Superpacket result;
    result.bytes = bytes_.data();
    result.length = static_cast<uint32_t>(bytes);
    result.offload.gso = io::GsoType::tcp;
    result.offload.gso_size = n;
    return result;
  }

  std::vector<uint8_t> bytes_;
  Staging staging_;
  TestPeer alice_{1}, bob_{2};
};

TEST_F(StagingTest, GivesBackCopiesInTheirOrder) {
  for (uint8_t n = 1; n <= 5; ++n) EXPECT_EQ(staging_.stage(alice_.path, packet(n, 100U + n)), 0u);
  EXPECT_EQ(alice_.path.staged, 5u);
  const auto taken = staging_.take(alice_.path);
  ASSERT_EQ(taken.size(), 5u);
  for (uint8_t n = 1; n <= 5; ++n) {
    const io::Superpacket& one = taken[n - 1U].packet;
    EXPECT_EQ(std::vector<uint8_t>(one.bytes, one.bytes + one.length), std::vector<uint8_t>(100U + n, n));
    EXPECT_EQ(one.offload.gso, io::GsoType::tcp);
    EXPECT_EQ(one.offload.gso_size, n);
  }
  EXPECT_EQ(alice_.path.staged, 0u);
  EXPECT_TRUE(staging_.take(alice_.path).empty());
}

TEST_F(StagingTest, DisplacesTheOldestOfAPeerWithTooMany) {
  for (unsigned i = 0; i < kMaxStagedPackets; ++i)
    EXPECT_EQ(staging_.stage(alice_.path, packet(static_cast<uint8_t>(i))), 0u);
  EXPECT_EQ(staging_.stage(alice_.path, packet(200)), 1u);
  EXPECT_EQ(staging_.stage(bob_.path, packet(1)), 0u);
  EXPECT_EQ(alice_.path.staged, kMaxStagedPackets);
  const auto taken = staging_.take(alice_.path);
  ASSERT_EQ(taken.size(), kMaxStagedPackets);
  EXPECT_EQ(taken.front().packet.bytes[0], 1);
  EXPECT_EQ(taken.back().packet.bytes[0], 200);
  EXPECT_EQ(staging_.take(bob_.path).size(), 1u);
}

TEST_F(StagingTest, DropsWhatOnePeerHasAndSaysHowMuch) {
  for (uint8_t n = 0; n < 3; ++n) (void)staging_.stage(alice_.path, packet(n));
  (void)staging_.stage(bob_.path, packet(9));
  EXPECT_EQ(staging_.drop(alice_.path), 3u);
  EXPECT_EQ(staging_.drop(alice_.path), 0u);
  EXPECT_EQ(alice_.path.staged, 0u);
  EXPECT_EQ(bob_.path.staged, 1u);
}

TEST_F(StagingTest, KeepsWithinItsBudgetAndGetsItBack) {
  constexpr size_t kBig = 65'535;
  constexpr size_t kFit = Staging::kPeerBudgetBytes / (kBig + 1024);
  for (int turn = 0; turn < 3; ++turn) {
    size_t lost = 0;
    for (size_t i = 0; i < kMaxStagedPackets; ++i) lost += staging_.stage(alice_.path, packet(1, kBig));
    EXPECT_LE(alice_.path.staged * kBig, Staging::kBudgetBytes);
    EXPECT_GE(alice_.path.staged, kFit) << "turn " << turn;
    EXPECT_EQ(lost + alice_.path.staged, kMaxStagedPackets);
    EXPECT_EQ(turn % 2 == 0 ? staging_.drop(alice_.path) : staging_.take(alice_.path).size(), kMaxStagedPackets - lost);
  }
}

// A peer that never answers must not keep the packets of all others from waiting.
TEST_F(StagingTest, LeavesRoomForOthersBesideAPeerWithABulkFlow) {
  for (size_t i = 0; i < 2 * kMaxStagedPackets; ++i) (void)staging_.stage(alice_.path, packet(1, 65'535));
  EXPECT_EQ(staging_.stage(bob_.path, packet(2, 65'535)), 0u);
  EXPECT_EQ(bob_.path.staged, 1u);
}

TEST_F(StagingTest, RefusesTheNewcomerWhenOthersHaveTheWholeBudget) {
  std::vector<std::unique_ptr<TestPeer>> peers;
  size_t lost = 0;
  for (uint64_t id = 0; id < 100'000 && lost == 0; ++id) {
    peers.push_back(std::make_unique<TestPeer>(id));
    lost = staging_.stage(peers.back()->path, packet(1, 1000));
  }
  EXPECT_EQ(lost, 1u);
  EXPECT_EQ(peers.back()->path.staged, 0u);
  EXPECT_LT(peers.size(), Staging::kBudgetBytes / 1000 + 2);
  EXPECT_GT(peers.size(), Staging::kBudgetBytes / 2500);
  EXPECT_EQ(staging_.drop(peers.front()->path), 1u);
  EXPECT_EQ(staging_.stage(peers.back()->path, packet(1, 1000)), 0u);
}

// What the smallest packets cost beside their bytes is paid from the budget too.
TEST_F(StagingTest, CountsWhatAPacketCostsBesideItsBytes) {
  std::vector<std::unique_ptr<TestPeer>> peers;
  size_t lost = 0, staged = 0;
  for (uint64_t id = 0; id < 100'000 && lost == 0; ++id) {
    peers.push_back(std::make_unique<TestPeer>(id));
    lost = staging_.stage(peers.back()->path, packet(1, 28));
    staged += 1 - lost;
  }
  EXPECT_EQ(lost, 1u);
  EXPECT_GE(staged, 10'000u);
}

}  // namespace
}  // namespace culvert::pipeline
