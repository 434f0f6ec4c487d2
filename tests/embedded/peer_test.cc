#include "src/embedded/peer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace culvert::embedded {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Key key_of(uint8_t byte) {
  Key key;
  key.fill(byte);
  return key;
}

// A UDP packet without ports that matter, from 10.0.0.from.
Bytes packet_from(uint8_t from, size_t length = 100, uint8_t fill = 0) {
  Bytes packet(length, fill);
  packet[0] = 0x45;
  packet[1] = 0;
  packet[2] = static_cast<uint8_t>(length >> 8);
  packet[3] = static_cast<uint8_t>(length);
  const Bytes addresses = {10, 0, 0, from, 10, 0, 0, 9};
  std::copy(addresses.begin(), addresses.end(), packet.begin() + 12);
  return packet;
}

// Two peers and a clock. What one sends, the other receives at once.
class EmbeddedPeer : public ::testing::Test {
 protected:
  EmbeddedPeer() {
    PeerOptions left{.private_key = key_of(1), .public_key = public_key_of(key_of(2)), .preshared_key = key_of(7)};
    PeerOptions right{.private_key = key_of(2), .public_key = public_key_of(key_of(1)), .preshared_key = key_of(7)};
    right.allowed_ips = {{.address = {10, 0, 0, 1}, .v6 = false, .length = 32}};
    Output nothing;
    left_ = make_peer(left, now_, nothing);
    right_ = make_peer(right, now_, nothing);
    EXPECT_THAT(nothing.datagrams, IsEmpty());
  }

  // Until neither has anything to say. Packets for left and right.
  void exchange(Output from_left) {
    while (!from_left.datagrams.empty()) {
      Output from_right;
      for (const Bytes& datagram : from_left.datagrams) right_->receive(datagram, now_, from_right);
      append(to_right_, from_right.packets);
      from_left.datagrams.clear();
      Output answers;
      for (const Bytes& datagram : from_right.datagrams) left_->receive(datagram, now_, answers);
      append(to_left_, answers.packets);
      from_left.datagrams = answers.datagrams;
    }
  }

  void send_left(const Bytes& packet) {
    Output output;
    left_->send(packet, now_, output);
    exchange(std::move(output));
  }

  void pass(std::chrono::nanoseconds time) {
    now_.since_boot += time;
    now_.since_epoch += time;
  }

  static void append(std::vector<Bytes>& to, const std::vector<Bytes>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  // A sealed datagram of left's, that right has not seen.
  Bytes sealed(const Bytes& packet) {
    Output output;
    left_->send(packet, now_, output);
    EXPECT_THAT(output.datagrams, SizeIs(1));
    return output.datagrams.at(0);
  }

  Moment now_{1000s, 1'700'000'000s};
  std::unique_ptr<Peer> left_, right_;
  std::vector<Bytes> to_left_, to_right_;
};

TEST_F(EmbeddedPeer, SendsWhatWaitedForTheHandshakeInOrder) {
  Output output;
  for (uint8_t i = 0; i < 3; ++i) left_->send(packet_from(1, 60 + i, i), now_, output);
  ASSERT_THAT(output.datagrams, SizeIs(1));  // one initiation
  EXPECT_EQ(output.datagrams[0].size(), 148U);
  exchange(std::move(output));
  EXPECT_THAT(to_right_, ElementsAre(packet_from(1, 60, 0), packet_from(1, 61, 1), packet_from(1, 62, 2)));
  EXPECT_EQ(left_->last_handshake(), now_.since_epoch);
  EXPECT_EQ(right_->last_handshake(), now_.since_epoch);
}

TEST_F(EmbeddedPeer, AnswersOnTheKeypairOfAHandshakeThatItDidNotBegin) {
  send_left(packet_from(1));
  Output output;
  right_->send(packet_from(9), now_, output);
  ASSERT_THAT(output.datagrams, SizeIs(1));
  EXPECT_EQ(left_->receive(output.datagrams[0], now_, output), Verdict::accepted);
  EXPECT_THAT(output.packets, ElementsAre(packet_from(9)));
}

TEST_F(EmbeddedPeer, SealsABatchAtOnce) {
  send_left(packet_from(1));
  to_right_.clear();
  std::vector<Bytes> packets;
  for (size_t i = 0; i < 300; ++i) packets.push_back(packet_from(1, 40 + i, static_cast<uint8_t>(i)));
  const std::vector<std::span<const uint8_t>> spans(packets.begin(), packets.end());
  Output output;
  left_->send(spans, now_, output);
  EXPECT_THAT(output.datagrams, SizeIs(300));
  exchange(std::move(output));
  EXPECT_EQ(to_right_, packets);
}

TEST_F(EmbeddedPeer, RefusesWhatIsNotForIt) {
  send_left(packet_from(1));
  const Bytes good = sealed(packet_from(1));
  Bytes forged = good;
  forged.back() ^= 1;
  Bytes elsewhere = good;
  elsewhere[4] ^= 1;
  Bytes no_ip = packet_from(1);
  no_ip[0] = 0;
  struct Case {
    const char* name;
    Bytes datagram;
    Verdict verdict;
  };
  const std::vector<Case> cases = {
      {"nothing", {}, Verdict::malformed},
      {"a type of no message", Bytes(100, 9), Verdict::malformed},
      {"an index of nobody's", elsewhere, Verdict::unknown},
      {"a wrong tag", forged, Verdict::forged},
      {"a good one", good, Verdict::accepted},
      {"the good one again", good, Verdict::replayed},
      {"another source", sealed(packet_from(2)), Verdict::not_allowed},
      {"no IP packet", sealed(no_ip), Verdict::malformed},
      {"an initiation with no mac1",
       [] {
         Bytes b(148, 0);
         b[0] = 1;
         return b;
       }(),
       Verdict::forged},
      {"a response with no mac1",
       [] {
         Bytes b(92, 0);
         b[0] = 2;
         return b;
       }(),
       Verdict::forged},
      {"a cookie reply to nothing",
       [] {
         Bytes b(64, 0);
         b[0] = 3;
         return b;
       }(),
       Verdict::unknown},
  };
  for (const Case& c : cases) {
    Output output;
    EXPECT_EQ(right_->receive(c.datagram, now_, output), c.verdict) << c.name;
    EXPECT_THAT(output.packets, SizeIs(c.verdict == Verdict::accepted ? 1 : 0)) << c.name;
  }
}

TEST_F(EmbeddedPeer, KeepsTheNewestPacketsThatWait) {
  Output output;
  for (size_t i = 0; i < 130; ++i) left_->send(packet_from(1, 40 + i), now_, output);
  exchange(std::move(output));
  ASSERT_THAT(to_right_, SizeIs(128));
  EXPECT_EQ(to_right_.front(), packet_from(1, 42));
  EXPECT_EQ(to_right_.back(), packet_from(1, 169));
}

TEST_F(EmbeddedPeer, TriesAgainAndGivesUpWhenNobodyAnswers) {
  Output output;
  left_->send(packet_from(1), now_, output);
  size_t initiations = 1;
  for (int turns = 0; left_->next_deadline() && turns < 1000; ++turns) {
    pass(std::max<std::chrono::nanoseconds>(*left_->next_deadline() - now_.since_boot, 1ns));
    Output due;
    left_->advance(now_, due);
    initiations += due.datagrams.size();
  }
  EXPECT_GE(initiations, 18U);
  EXPECT_LE(initiations, 20U);
  EXPECT_FALSE(left_->next_deadline());
  send_left(packet_from(1, 77));
  EXPECT_THAT(to_right_, ElementsAre(packet_from(1, 77)));  // what waited before is gone
}

TEST_F(EmbeddedPeer, RekeysWhileItSends) {
  send_left(packet_from(1));
  pass(121s);
  send_left(packet_from(1));
  EXPECT_EQ(left_->last_handshake(), now_.since_epoch);
  EXPECT_THAT(to_right_, SizeIs(2));
}

TEST_F(EmbeddedPeer, AcknowledgesWhatItReceives) {
  send_left(packet_from(1));
  ASSERT_TRUE(right_->next_deadline());
  pass(*right_->next_deadline() - now_.since_boot);
  Output due;
  right_->advance(now_, due);
  ASSERT_THAT(due.datagrams, SizeIs(1));
  EXPECT_EQ(due.datagrams[0].size(), 32U);  // a keepalive
  EXPECT_EQ(left_->receive(due.datagrams[0], now_, due), Verdict::accepted);
  EXPECT_THAT(due.packets, IsEmpty());
}

TEST_F(EmbeddedPeer, BeginsByItselfWithAPersistentKeepalive) {
  Output output;
  const auto peer = make_peer({.private_key = key_of(1),
                               .public_key = public_key_of(key_of(2)),
                               .preshared_key = key_of(7),
                               .persistent_keepalive = 25s},
                              now_, output);
  ASSERT_NE(peer, nullptr);
  ASSERT_THAT(output.datagrams, SizeIs(1));
  EXPECT_EQ(right_->receive(output.datagrams[0], now_, output), Verdict::accepted);
}

TEST_F(EmbeddedPeer, IsNotMadeOfWrongOptions) {
  const Key ours = key_of(1), theirs = public_key_of(key_of(2));
  Output output;
  EXPECT_EQ(make_peer({.public_key = theirs}, now_, output), nullptr);
  EXPECT_EQ(make_peer({.private_key = ours}, now_, output), nullptr);
  Key low_order{};
  low_order[0] = 1;
  EXPECT_EQ(make_peer({.private_key = ours, .public_key = low_order}, now_, output), nullptr);
  EXPECT_EQ(make_peer({.private_key = ours, .public_key = theirs, .allowed_ips = {{.v6 = false, .length = 33}}}, now_,
                      output),
            nullptr);
}

}  // namespace
}  // namespace culvert::embedded
