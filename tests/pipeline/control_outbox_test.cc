#include "src/pipeline/control_outbox.h"

#include <gtest/gtest.h>

#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using test::Bytes;
using test::Departure;
using test::FakeOuter;
using test::TestPeer;

class ControlOutboxTest : public testing::Test {
 protected:
  ControlDatagram to_peer(uint8_t first, uint16_t length = 148) {
    ControlDatagram datagram;
    datagram.path = &peer_.path;
    datagram.traffic_class = protocol::kHandshakeDsField;
    datagram.length = length;
    datagram.bytes.fill(first);
    return datagram;
  }
  uint64_t sent_bytes() const { return traffic_.of(peer_.path.number).sent_bytes.get(); }
  uint64_t drops(DropReason reason) const { return stats_.drops[static_cast<size_t>(reason)].get(); }

  TestPeer peer_{1, "192.0.2.1:1"};
  WorkerStats stats_;
  PeerTrafficTable traffic_;
  ControlOutbox outbox_{stats_, traffic_};
  FakeOuter outer_;
};

TEST_F(ControlOutboxTest, SendsWhatWasPushedInOrderWithItsTrafficClass) {
  ControlDatagram cookie_reply = to_peer(3, 64);
  cookie_reply.path = nullptr;
  cookie_reply.to = test::endpoint("[2001:db8::9]:9");
  ASSERT_TRUE(outbox_.push(to_peer(1)));
  ASSERT_TRUE(outbox_.push(cookie_reply));
  ASSERT_TRUE(outbox_.push(to_peer(2, 92)));
  outbox_.send(&outer_);
  ASSERT_EQ(outer_.sent.size(), 3u);
  EXPECT_EQ(outer_.sent[0].bytes, Bytes(148, 1));
  EXPECT_EQ(outer_.sent[0].peer, test::endpoint("192.0.2.1:1"));
  EXPECT_EQ(outer_.sent[1].bytes, Bytes(64, 3));
  EXPECT_EQ(outer_.sent[1].peer, test::endpoint("[2001:db8::9]:9"));
  EXPECT_EQ(outer_.sent[2].bytes, Bytes(92, 2));
  for (const test::Train& train : outer_.sent) EXPECT_EQ(train.traffic_class, 0x88);
  EXPECT_EQ(sent_bytes(), 148u + 92u) << "a cookie reply is no peer's";
}

TEST_F(ControlOutboxTest, FollowsAPeerThatRoamedMeanwhile) {
  ASSERT_TRUE(outbox_.push(to_peer(1)));
  peer_.path.follow_handshake(test::endpoint("192.0.2.77:7"));
  outbox_.send(&outer_);
  ASSERT_EQ(outer_.sent.size(), 1u);
  EXPECT_EQ(outer_.sent[0].peer, test::endpoint("192.0.2.77:7"));
}

TEST_F(ControlOutboxTest, SaysHowMuchRoomThereIsAndCountsWhatItRefuses) {
  EXPECT_EQ(outbox_.room(), ControlOutbox::kMaxDatagrams);
  for (size_t i = 0; i < ControlOutbox::kMaxDatagrams; ++i) ASSERT_TRUE(outbox_.push(to_peer(static_cast<uint8_t>(i))));
  EXPECT_EQ(outbox_.room(), 0u);
  EXPECT_FALSE(outbox_.push(to_peer(1)));
  EXPECT_EQ(drops(DropReason::control_queue_full), 1u);
  outbox_.send(&outer_);
  EXPECT_EQ(outbox_.room(), ControlOutbox::kMaxDatagrams);
  ASSERT_EQ(outer_.sent.size(), ControlOutbox::kMaxDatagrams) << "in several batches";
  for (size_t i = 0; i < outer_.sent.size(); ++i) ASSERT_EQ(outer_.sent[i].bytes[0], static_cast<uint8_t>(i));
}

TEST_F(ControlOutboxTest, EndsThoughMoreIsPushedAllTheTime) {
  constexpr size_t kBefore = 300, kMeanwhile = 3000;
  size_t pushed = 0;
  outer_.network = [&](Departure&) {
    if (pushed < kBefore + kMeanwhile) pushed += outbox_.push(to_peer(1)) ? 1 : 0;
  };
  for (; pushed < kBefore; ++pushed) ASSERT_TRUE(outbox_.push(to_peer(1)));
  outbox_.send(&outer_);
  EXPECT_EQ(outer_.sent.size(), kBefore) << "traffic has its turn";
  outbox_.send(&outer_);
  EXPECT_EQ(outer_.sent.size(), 2 * kBefore);
}

TEST_F(ControlOutboxTest, DropsAndCountsWhileThereIsNoOuterSide) {
  ASSERT_TRUE(outbox_.push(to_peer(1)));
  outbox_.send(nullptr);
  EXPECT_EQ(drops(DropReason::link_down), 1u);
  outbox_.send(&outer_);
  EXPECT_TRUE(outer_.sent.empty());
  EXPECT_EQ(sent_bytes(), 0u);
}

TEST_F(ControlOutboxTest, CountsWhatTheOuterSideDidNotSend) {
  outer_.network = [](Departure& train) { train.datagrams_sent = 0; };
  ASSERT_TRUE(outbox_.push(to_peer(1)));
  outbox_.send(&outer_);
  outer_.network = nullptr;
  outer_.lend_nothing_for = 1;
  ASSERT_TRUE(outbox_.push(to_peer(1)));
  outbox_.send(&outer_);
  EXPECT_EQ(drops(DropReason::send_failed), 2u);
  EXPECT_EQ(sent_bytes(), 0u);
}

TEST_F(ControlOutboxTest, ForgetsASourceThatWasRefused) {
  io::Endpoint sticky = test::endpoint("192.0.2.1:1");
  sticky.source = test::address("192.0.2.50");
  peer_.path.endpoint.store(sticky);
  outer_.network = [](Departure& train) { train.source_refused = true; };
  ASSERT_TRUE(outbox_.push(to_peer(1)));
  outbox_.send(&outer_);
  EXPECT_EQ(peer_.path.endpoint.load(), test::endpoint("192.0.2.1:1"));
  EXPECT_EQ(outer_.sent.size(), 1u) << "sent without it";
}

}  // namespace
}  // namespace culvert::pipeline
