#include "src/pipeline/shared_state.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/pipeline/peers.h"

namespace culvert::pipeline {
namespace {

using test::TestPeer;

class Attention : public testing::Test {
 protected:
  io::Result<io::Wakeup> wakeup_ = io::Wakeup::open();
  Mailbox mailbox_{*wakeup_};
};

TEST_F(Attention, WakesTheControlThreadOnceForManyBits) {
  TestPeer peer(7);
  ask_attention(mailbox_, peer.path, kMarks);
  EXPECT_TRUE(wakeup_->drain());
  ask_attention(mailbox_, peer.path, kMarks);
  ask_attention(mailbox_, peer.path, kKeypairConfirmed);
  EXPECT_FALSE(wakeup_->drain());
  uint64_t id = 0;
  ASSERT_TRUE(mailbox_.attention.try_pop(id));
  EXPECT_EQ(id, 7u);
  EXPECT_FALSE(mailbox_.attention.try_pop(id));
  EXPECT_EQ(peer.path.attention.exchange(0), uint32_t{kMarks | kKeypairConfirmed});
}

TEST_F(Attention, IsAskedForAgainOnceTheControlThreadHasLooked) {
  TestPeer peer(7);
  ask_attention(mailbox_, peer.path, kMarks);
  EXPECT_TRUE(wakeup_->drain());
  peer.path.attention.exchange(0);
  ask_attention(mailbox_, peer.path, kStagedLate);
  EXPECT_TRUE(wakeup_->drain());
  EXPECT_EQ(mailbox_.attention.size(), 2u);
}

// The control thread may have emptied the ring, and looked at `overflowed`, just before it was set: without a
// wake-up of its own it would sleep on, and the peer would never ask again.
TEST_F(Attention, WakesTheControlThreadAlsoWhenTheRingIsFull) {
  std::vector<std::unique_ptr<TestPeer>> peers;
  for (size_t i = 0; i < Mailbox::kMaxAttention; ++i) {
    peers.push_back(std::make_unique<TestPeer>(i));
    ask_attention(mailbox_, peers.back()->path, kMarks);
  }
  EXPECT_FALSE(mailbox_.overflowed);
  EXPECT_TRUE(wakeup_->drain());
  TestPeer late(99'999);
  ask_attention(mailbox_, late.path, kMarks);
  EXPECT_TRUE(mailbox_.overflowed);
  EXPECT_TRUE(wakeup_->drain());
}

TEST(PeerPathTraffic, IsCountedByEachWorkerAloneAndSummed) {
  protocol::Keypairs keypairs;
  protocol::Timers timers;
  PeerPath path(1, keypairs, timers.marks(), 3);
  for (size_t worker = 0; worker < 3; ++worker) {
    path.traffic(worker).received_bytes.add(10 + worker);
    path.traffic(worker).sent_bytes.add(100 + worker);
  }
  path.received_by_control.add(148);
  EXPECT_EQ(path.received_bytes(), 148u + 10 + 11 + 12);
  EXPECT_EQ(path.sent_bytes(), 100u + 101 + 102);
  for (size_t worker = 1; worker < 3; ++worker) {
    const auto distance =
        reinterpret_cast<uintptr_t>(&path.traffic(worker)) - reinterpret_cast<uintptr_t>(&path.traffic(worker - 1));
    EXPECT_GE(distance, 64u) << "two workers share a cache line";
  }
}

}  // namespace
}  // namespace culvert::pipeline
