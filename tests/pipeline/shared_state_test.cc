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

}  // namespace
}  // namespace culvert::pipeline
