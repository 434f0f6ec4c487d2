#include "src/pipeline/inbound.h"

#include <gtest/gtest.h>

#include "src/protocol/cookie.h"
#include "src/protocol/messages.h"
#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Bytes;
using test::Drops;
using test::drops_of;
using test::InnerPacket;
using test::kStart;
using test::PacketSpec;
using test::superpacket;
using test::Train;
using test::Tunnel;

// Packets of flows of their own, so that none is joined with another.
std::vector<InnerPacket> packets(size_t count, bool v6 = false) {
  std::vector<InnerPacket> result;
  for (size_t i = 0; i < count; ++i) {
    PacketSpec spec;
    spec.tcp = false;
    spec.v6 = v6;
    spec.source_port = static_cast<uint16_t>(i);
    result.push_back(superpacket(spec));
  }
  return result;
}

std::vector<Bytes> bytes_of(const std::vector<InnerPacket>& all) {
  std::vector<Bytes> result;
  for (const InnerPacket& packet : all) result.push_back(packet.bytes);
  return result;
}

// Seals what no Outbound would send.
Train seal_plaintext(protocol::Keypair& keypair, Bytes plaintext, const io::Endpoint& from) {
  uint64_t counter = 0;
  EXPECT_TRUE(keypair.reserve(1, counter));
  const protocol::TransportHeader header = {4, keypair.remote_index(), counter};
  Train train{Bytes(plaintext.size() + protocol::kTransportOverhead), 0, from, 0};
  train.segment_size = train.bytes.size();
  std::memcpy(train.bytes.data(), &header, sizeof header);
  const crypto::SealMessage message = {keypair.sending_key(), counter, plaintext.data(), train.bytes.data() + 16,
                                       static_cast<uint32_t>(plaintext.size())};
  crypto::seal({&message, 1});
  return train;
}

struct InboundTest : testing::Test, Tunnel {
  void expect_endpoint(const io::Endpoint& expected) { EXPECT_EQ(to_left.path.endpoint.load(), expected); }

  const io::Endpoint elsewhere = test::endpoint("198.51.100.1:7");
};

// Datagrams that are no WireGuard message, or for nobody here.
struct BadDatagram {
  std::string name;
  Bytes bytes;
  DropReason reason;
};

Bytes message(std::initializer_list<uint8_t> start, size_t length) {
  Bytes bytes(start);
  bytes.resize(length);
  return bytes;
}

const BadDatagram kBadDatagrams[] = {
    {"one byte", message({4}, 1), DropReason::malformed_datagram},
    {"type 0", message({0}, 32), DropReason::malformed_datagram},
    {"type 5", message({5}, 148), DropReason::malformed_datagram},
    {"reserved bytes in use", message({4, 0, 0, 1}, 64), DropReason::malformed_datagram},
    {"31 bytes of transport data", message({4}, 31), DropReason::malformed_datagram},
    {"147 bytes of an initiation", message({1}, 147), DropReason::malformed_datagram},
    {"149 bytes of an initiation", message({1}, 149), DropReason::malformed_datagram},
    {"91 bytes of a response", message({2}, 91), DropReason::malformed_datagram},
    {"65 bytes of a cookie reply", message({3}, 65), DropReason::malformed_datagram},
    {"an index that nobody has", message({4, 0, 0, 0, 1, 2, 3, 4}, 32), DropReason::unknown_index},
    {"an initiation without mac1", message({1}, 148), DropReason::invalid_mac1},
    {"a response without mac1", message({2}, 92), DropReason::invalid_mac1},
    {"a cookie reply to an index that nobody has", message({3, 0, 0, 0, 1, 2, 3, 4}, 64), DropReason::unknown_index},
};

class InboundBadDatagrams : public testing::TestWithParam<BadDatagram> {};

TEST_P(InboundBadDatagrams, IsDroppedAndItsNeighboursArrive) {
  Tunnel tunnel;
  const std::vector<InnerPacket> good = packets(2);
  tunnel.right.outer.to_receive.push_back(tunnel.seal({good[0]}));
  tunnel.right.outer.to_receive.push_back(
      {GetParam().bytes, GetParam().bytes.size(), test::endpoint("198.51.100.1:7"), 0});
  tunnel.right.receive(tunnel.seal({good[1]}));
  EXPECT_EQ(tunnel.right.inner.take_packets(), bytes_of(good));
  EXPECT_EQ(drops_of(tunnel.right), (Drops{{GetParam().reason, 1}}));
  EXPECT_EQ(tunnel.to_left.path.endpoint.load(), tunnel.left.at);
}

INSTANTIATE_TEST_SUITE_P(Cases, InboundBadDatagrams, testing::ValuesIn(kBadDatagrams),
                         [](const auto& given) { return packet::test::identifier(given.param.name); });

TEST_F(InboundTest, CountsATrainWithoutBytes) {
  right.receive(Train{{}, 0, left.at, 0});
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::malformed_datagram, 1}}));
}

TEST_F(InboundTest, DropsForgedMessagesInTheMiddleOfABatch) {
  const std::vector<InnerPacket> all = packets(20);
  Train train = seal(all);
  std::vector<Bytes> expected;
  for (size_t i = 0; i < all.size(); ++i) {
    // The first byte of the plaintext, the last one of the tag, or one of the counter.
    const size_t at[] = {16, train.segment_size - 1, 8};
    if (i % 3 == 1)
      train.bytes[i * train.segment_size + at[i / 3 % 3]] ^= 0x40;
    else
      expected.push_back(all[i].bytes);
  }
  right.receive(train);
  EXPECT_EQ(right.inner.take_packets(), expected);
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::forged, 7}}));
  EXPECT_EQ(right.stats.messages_opened.get(), 13u);
}

TEST_F(InboundTest, DropsReplayedBatches) {
  const std::vector<InnerPacket> all = packets(60);
  const Train train = seal(all);
  right.receive(train);
  EXPECT_EQ(right.inner.take_packets(), bytes_of(all));
  const uint64_t received = right.received_from(to_left);
  right.receive(train);
  EXPECT_TRUE(right.inner.take_packets().empty());
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::replayed, 60}}));
  EXPECT_EQ(right.received_from(to_left), received);
}

TEST_F(InboundTest, DropsAReplayWithinABatch) {
  const std::vector<InnerPacket> one = packets(1);
  const Train train = seal(one);
  for (int i = 0; i < 5; ++i) right.outer.to_receive.push_back(train);
  right.receive();
  EXPECT_EQ(right.inner.take_packets(), bytes_of(one));
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::replayed, 4}}));
}

TEST_F(InboundTest, AForgedCounterDoesNotMoveTheReplayWindow) {
  const std::vector<InnerPacket> all = packets(2);
  const Train first = seal({all[0]});
  Train ahead = seal({all[1]});
  ahead.bytes[13] = 0x7f;  // of the counter
  right.receive(ahead);
  right.receive(first);
  EXPECT_EQ(right.inner.take_packets(), std::vector<Bytes>{all[0].bytes});
}

TEST_F(InboundTest, FollowsAPeerThatRoams) {
  Train train = seal(packets(1));
  train.peer = elsewhere;
  train.peer.source = test::address("192.0.2.2");
  to_left.path.gso_refused = true;
  right.receive(train);
  expect_endpoint(train.peer);
  EXPECT_FALSE(to_left.path.gso_refused) << "the new path may be wider";
}

TEST_F(InboundTest, StaysWithTheLastAddressOfABatch) {
  Train first = seal(packets(1)), second = seal(packets(1));
  first.peer = elsewhere;
  second.peer = test::endpoint("203.0.113.9:9");
  right.outer.to_receive.push_back(first);
  right.receive(second);
  expect_endpoint(second.peer);
}

TEST_F(InboundTest, FollowsNoReplayedDatagram) {
  Train train = seal(packets(3));
  right.receive(train);
  train.peer = elsewhere;
  right.receive(train);
  expect_endpoint(left.at);
  // Nor one in the same batch as an authentic one.
  Train fresh = seal(packets(1));
  right.outer.to_receive.push_back(fresh);
  right.receive(train);
  expect_endpoint(left.at);
}

TEST_F(InboundTest, FollowsNoForgedDatagram) {
  Train forged = seal(packets(3));
  forged.peer = elsewhere;
  for (size_t at = 20; at < forged.bytes.size(); at += forged.segment_size) forged.bytes[at] ^= 1;
  right.outer.to_receive.push_back(seal(packets(1)));
  right.receive(forged);
  expect_endpoint(left.at);
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::forged, 3}}));
}

TEST_F(InboundTest, FollowsNoDatagramOfAnExpiredKeypair) {
  Train train = seal(packets(1));
  train.peer = elsewhere;
  right.receive(train, kStart + protocol::kRejectAfterTime);
  expect_endpoint(left.at);
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::keypair_expired, 1}}));
}

TEST_F(InboundTest, ReceivesUntilTheKeypairExpires) {
  const std::vector<InnerPacket> all = packets(1);
  right.receive(seal(all), kStart + protocol::kRejectAfterTime - milliseconds(1));
  EXPECT_EQ(right.inner.take_packets(), bytes_of(all));
}

// In one batch behind good ones: what was found out of an address is kept for its neighbours.
TEST_F(InboundTest, PassesOnNoPacketFromAnotherAddressBehindGoodOnes) {
  const Bytes good = make_packet(PacketSpec{});
  PacketSpec spec;
  spec.v6 = true;
  Bytes other_version = make_packet(spec), other_host = good;
  std::fill_n(&other_version[packet::kIpv6Source], 16, uint8_t{0});
  std::copy_n(&good[packet::kIpv4Source], 4, &other_version[packet::kIpv6Source]);
  other_host[packet::kIpv4Source + 3] = 50;
  for (const Bytes* each : std::initializer_list<const Bytes*>{&good, &other_version, &good, &other_host, &good})
    right.outer.to_receive.push_back(seal_plaintext(*to_right.keypairs.current(), *each, left.at));
  right.receive();
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::source_not_allowed, 2}}));
}

TEST_F(InboundTest, PassesOnNoPacketFromAnAddressThatIsNotThePeers) {
  for (const bool v6 : {false, true}) {
    Tunnel tunnel;
    // Hosts 1 and 2 are the peer's; host 50 is nobody's, host 60 another peer's.
    tunnel.right.allow(tunnel.right.add_peer(elsewhere), 60);
    for (const uint8_t host : {uint8_t{50}, uint8_t{60}}) {
      PacketSpec spec;
      spec.v6 = v6;
      Bytes packet = make_packet(spec);
      packet[v6 ? 23 : 15] = host;
      tunnel.right.receive(seal_plaintext(*tunnel.to_right.keypairs.current(), packet, tunnel.left.at));
    }
    EXPECT_TRUE(tunnel.right.inner.take_packets().empty());
    EXPECT_EQ(drops_of(tunnel.right), (Drops{{DropReason::source_not_allowed, 2}}));
  }
}

struct BadInner {
  std::string name;
  Bytes plaintext;
};

Bytes changed(bool v6, size_t at, uint8_t value, size_t length = 140) {
  PacketSpec spec;
  spec.v6 = v6;
  Bytes packet = make_packet(spec);
  packet[at] = value;
  packet.resize(std::min(length, packet.size()));
  return packet;
}

const BadInner kBadInner[] = {
    {"one byte", {0x45}},
    {"19 bytes", changed(false, 0, 0x45, 19)},
    {"39 bytes of v6", changed(true, 0, 0x60, 39)},
    {"version 0", changed(false, 0, 0x05)},
    {"version 15", changed(true, 0, 0xf0)},
    {"a v4 header of 16 bytes", changed(false, 0, 0x44)},
    {"a v4 header longer than its packet", changed(false, 3, 19)},
    {"a v4 length beyond the end", changed(false, 2, 1)},
    {"a v6 length beyond the end", changed(true, 4, 1)},
    {"a cut v4 packet", changed(false, 0, 0x45, 100)},
};

class InboundBadInner : public testing::TestWithParam<BadInner> {};

TEST_P(InboundBadInner, IsDroppedButProvesThatThePeerLives) {
  Tunnel tunnel;
  const io::Endpoint elsewhere = test::endpoint("198.51.100.1:7");
  tunnel.right.receive(seal_plaintext(*tunnel.to_right.keypairs.current(), GetParam().plaintext, elsewhere));
  EXPECT_TRUE(tunnel.right.inner.written.empty());
  EXPECT_EQ(drops_of(tunnel.right), (Drops{{DropReason::malformed_inner, 1}}));
  EXPECT_EQ(tunnel.to_left.path.endpoint.load(), elsewhere);
}

INSTANTIATE_TEST_SUITE_P(Cases, InboundBadInner, testing::ValuesIn(kBadInner),
                         [](const auto& given) { return packet::test::identifier(given.param.name); });

TEST_F(InboundTest, CutsOffPaddingOfAnyLength) {
  const Bytes packet = packets(1)[0].bytes;
  for (const size_t padding : {0U, 1U, 15U, 16U, 1000U}) {
    Bytes padded = packet;
    padded.resize(packet.size() + padding, 0xaa);
    right.receive(seal_plaintext(*to_right.keypairs.current(), padded, left.at));
    EXPECT_EQ(right.inner.take_packets(), std::vector<Bytes>{packet});
  }
}

TEST_F(InboundTest, CountsKeepalivesAndWritesNothing) {
  right.receive(seal_plaintext(*to_right.keypairs.current(), {}, elsewhere));
  EXPECT_EQ(right.stats.keepalives_received.get(), 1u);
  EXPECT_EQ(right.received_from(to_left), 32u);
  EXPECT_TRUE(right.inner.written.empty());
  EXPECT_FALSE(to_left.timers.next_deadline()) << "a keepalive wants no answer";
  expect_endpoint(elsewhere);
}

TEST_F(InboundTest, LeavesAMarkThatDataWantsAnAnswer) {
  right.receive(seal(packets(1)));
  EXPECT_EQ(to_left.timers.next_deadline(), kStart + protocol::kKeepaliveTimeout);
  EXPECT_EQ(to_left.path.attention.load(), uint32_t{kMarks});
}

TEST_F(InboundTest, ClearsTheMarkThatDataIsUnanswered) {
  left.send(packets(1)[0]);
  EXPECT_TRUE(to_right.timers.next_deadline().has_value());
  right.send(packets(1)[0]);
  left.receive(Train{right.outer.sent.at(0)});
  EXPECT_EQ(to_right.timers.next_deadline(), kStart + protocol::kKeepaliveTimeout);
}

TEST_F(InboundTest, AsksForALastMinuteHandshakeOnceAndOnlyAsTheInitiator) {
  const auto due = kStart + protocol::kRekeyOnReceiveTime;
  const auto exchange = [&](protocol::Instant now) {
    left.send(packets(1)[0], kStart);
    right.send(packets(1)[0], kStart);
    test::carry(left, right);
    test::carry(right, left);
    left.receive(now);
    right.receive(now);
    return std::pair(to_right.timers.advance(now, {}).send_initiation, to_left.timers.advance(now, {}).send_initiation);
  };
  EXPECT_EQ(exchange(due - milliseconds(1)), std::pair(false, false));
  EXPECT_EQ(exchange(due), std::pair(true, false));
  EXPECT_EQ(exchange(due), std::pair(false, false));
}

// A message of the previous keypair that was on its way while the current one came up.
TEST_F(InboundTest, AsksForNoHandshakeWhileTheCurrentKeypairIsFresh) {
  const auto due = kStart + protocol::kRekeyOnReceiveTime;
  right.send(packets(1)[0], kStart);
  test::begin_session(left, to_right, right, to_left, {.created = due});
  test::carry(right, left);
  left.receive(due);
  EXPECT_EQ(left.inner.take_packets().size(), 1u);
  EXPECT_FALSE(to_right.timers.advance(due, {}).send_initiation);
}

TEST_F(InboundTest, ConfirmsTheNextKeypairAndSaysSoOnce) {
  test::begin_session(left, to_right, right, to_left, {.confirmed = false});
  (void)to_left.path.attention.exchange(0);
  right.receive(seal(packets(2)));
  EXPECT_EQ(to_left.path.attention.exchange(0) & kKeypairConfirmed, uint32_t{kKeypairConfirmed});
  EXPECT_TRUE(to_left.keypairs.next()->confirmed());
  right.receive(seal(packets(2)));
  EXPECT_EQ(to_left.path.attention.exchange(0) & kKeypairConfirmed, 0u);
}

TEST_F(InboundTest, AForgedMessageConfirmsNothing) {
  test::begin_session(left, to_right, right, to_left, {.confirmed = false});
  Train train = seal(packets(1));
  train.bytes[30] ^= 1;
  right.receive(train);
  EXPECT_FALSE(to_left.keypairs.next()->confirmed());
}

TEST_F(InboundTest, ReceivesUntilTheOuterSideHasNoMore) {
  right.outer.most_datagrams = 3;
  const std::vector<InnerPacket> all = packets(20);
  for (InnerPacket packet : all) left.inner.to_read.push_back(std::move(packet));
  left.send();
  test::carry(left, right);
  EXPECT_EQ(right.inbound.run(right.inner, right.outer, kStart), 20u) << "in one turn: no descriptor tells of the rest";
  EXPECT_EQ(right.inner.take_packets(), bytes_of(all));
}

TEST_F(InboundTest, WhateverBecomesOfADatagramItsLeaseComesHome) {
  Train forged = seal(packets(3));
  forged.bytes[30] ^= 1;
  right.outer.to_receive.push_back(seal(packets(4)));
  right.outer.to_receive.push_back(Train{{5}, 1, elsewhere, 0});
  right.receive(forged);
  EXPECT_EQ(right.outer.leased, 0u);
  EXPECT_EQ(right.inner.take_packets().size(), 6u);
}

TEST_F(InboundTest, OpensMoreThanABatchAtOnce) {
  const std::vector<InnerPacket> all = packets(1000);
  EXPECT_EQ(transfer(all), bytes_of(all));
}

TEST_F(InboundTest, CountsWhatTheInnerSideRefuses) {
  right.inner.refuse = 3;
  EXPECT_EQ(transfer(packets(10)).size(), 7u);
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::inner_refused, 3}}));
  EXPECT_EQ(right.stats.inner_packets_written.get(), 7u);
}

// Handshake messages.
struct InboundHandshakes : InboundTest {
  InboundHandshakes() { right.published.mac1_key = &key; }

  Train initiation() {
    Bytes bytes(sizeof(protocol::HandshakeInitiation));
    bytes[0] = 1;
    bytes[50] = 99;
    const protocol::Mac mac1 = key.compute(bytes);
    std::copy(mac1.begin(), mac1.end(), bytes.begin() + 116);
    return {bytes, bytes.size(), elsewhere, 0};
  }

  protocol::PublicKey ours{{1, 2, 3}};
  protocol::Mac1Key key{ours};
  HandshakeDatagram datagram;
};

TEST_F(InboundHandshakes, ReachTheControlThreadAndMoveNoEndpoint) {
  const Train train = initiation();
  right.receive(train);
  ASSERT_TRUE(right.mailbox.handshakes.try_pop(datagram));
  EXPECT_EQ(datagram.from, elsewhere);
  EXPECT_EQ(Bytes(datagram.bytes.begin(), datagram.bytes.begin() + datagram.length), train.bytes);
  EXPECT_TRUE(right.wakeup->drain());
  expect_endpoint(left.at);
}

// It answers our initiation, or our response, which has a keypair by then.
TEST_F(InboundHandshakes, CookieRepliesNeedNoMac1ButAnIndexOfOurs) {
  const uint32_t pending = right.index_table.insert_handshake(&to_left.path, 1, [] { return 0x01020304u; });
  const uint32_t keypair = to_left.keypairs.current()->local_index();
  for (const uint32_t index : {pending, keypair}) {
    protocol::CookieReply reply{};
    reply.type = 3;
    reply.receiver_index = index;
    const auto bytes = protocol::wire_bytes(reply);
    right.receive({Bytes(bytes.begin(), bytes.end()), 64, elsewhere, 0});
    ASSERT_TRUE(right.mailbox.handshakes.try_pop(datagram));
    EXPECT_EQ(datagram.length, 64);
    expect_endpoint(left.at);
  }
  EXPECT_TRUE(drops_of(right).empty());
  right.index_table.erase(pending);
  right.receive({message({3, 0, 0, 0, 4, 3, 2, 1}, 64), 64, elsewhere, 0});
  EXPECT_FALSE(right.mailbox.handshakes.try_pop(datagram)) << "nothing waits for it any more";
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::unknown_index, 1}}));
}

TEST_F(InboundHandshakes, TellWhichPortOfOursTheyCameTo) {
  right.outer.local_port = 51821;
  right.receive(initiation());
  ASSERT_TRUE(right.mailbox.handshakes.try_pop(datagram));
  EXPECT_EQ(datagram.local_port, 51821);
}

TEST_F(InboundHandshakes, AreDroppedWithAWrongMac1) {
  Train train = initiation();
  train.bytes[50] ^= 1;
  right.receive(train);
  EXPECT_FALSE(right.mailbox.handshakes.try_pop(datagram));
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::invalid_mac1, 1}}));
}

TEST_F(InboundHandshakes, AreDroppedWhenTheControlThreadIsBehind) {
  for (size_t i = 0; i < Mailbox::kMaxHandshakes + 5; ++i) right.outer.to_receive.push_back(initiation());
  right.receive();
  EXPECT_EQ(right.mailbox.handshakes.size(), Mailbox::kMaxHandshakes);
  EXPECT_EQ(drops_of(right), (Drops{{DropReason::handshake_queue_full, 5}}));
}

}  // namespace
}  // namespace culvert::pipeline
