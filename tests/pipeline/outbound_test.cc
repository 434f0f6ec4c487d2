#include "src/pipeline/outbound.h"

#include <gtest/gtest.h>

#include "src/protocol/messages.h"
#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Bytes;
using test::Drops;
using test::drops_of;
using test::End;
using test::InnerPacket;
using test::kStart;
using test::PacketSpec;
using test::superpacket;
using test::TestPeer;
using test::Tunnel;

PacketSpec udp(uint8_t host = 1, bool v6 = false) {
  PacketSpec spec;
  spec.tcp = false;
  spec.host = host;
  spec.v6 = v6;
  return spec;
}

// A peer of the end asks for attention with these bits, which are cleared.
uint32_t attention(End& end, TestPeer& peer) {
  uint64_t id = 0;
  while (end.mailbox.attention.try_pop(id)) EXPECT_EQ(id, peer.path.id);
  return peer.path.attention.exchange(0);
}

// Whether the peer's timers were asked for an initiation.
bool wants_handshake(TestPeer& peer, protocol::Instant now = kStart) {
  return peer.timers.advance(now, {}).send_initiation;
}

// Packets that are not IP, or lie about themselves.
struct BadPacket {
  std::string name;
  DropReason reason;
  void (*change)(InnerPacket& packet);
};

const BadPacket kBadPackets[] = {
    {"nothing", DropReason::not_ip, [](InnerPacket& p) { p.bytes.clear(); }},
    {"19 bytes of v4", DropReason::not_ip, [](InnerPacket& p) { p.bytes.resize(19); }},
    {"39 bytes of v6", DropReason::not_ip,
     [](InnerPacket& p) {
       p.bytes.resize(39);
       p.bytes[0] = 0x60;
     }},
    {"version 0", DropReason::not_ip, [](InnerPacket& p) { p.bytes[0] = 0x05; }},
    {"a header longer than the packet", DropReason::not_ip,
     [](InnerPacket& p) {
       p.bytes.resize(40);
       p.bytes[0] = 0x4f;
     }},
    {"a length beyond its end", DropReason::malformed_offload, [](InnerPacket& p) { p.bytes[2] = 0xff; }},
    {"GSO size 0", DropReason::malformed_offload, [](InnerPacket& p) { p.offload.gso = io::GsoType::udp; }},
    {"TCP GSO of a UDP packet", DropReason::malformed_offload,
     [](InnerPacket& p) {
       p.offload.gso = io::GsoType::tcp;
       p.offload.gso_size = 100;
     }},
    {"a checksum outside of it", DropReason::malformed_offload,
     [](InnerPacket& p) {
       p.offload.needs_checksum = true;
       p.offload.checksum_start = 65'000;
     }},
};

class OutboundBadPackets : public testing::TestWithParam<BadPacket> {};

TEST_P(OutboundBadPackets, IsDroppedAndItsNeighboursGo) {
  Tunnel tunnel;
  InnerPacket bad = superpacket(udp());
  GetParam().change(bad);
  PacketSpec other_flow = udp();
  other_flow.source_port = 5;
  const InnerPacket before = superpacket(udp()), after = superpacket(other_flow);
  EXPECT_EQ(tunnel.transfer({before, bad, after}), (std::vector<Bytes>{before.bytes, after.bytes}));
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{GetParam().reason, 1}}));
}

INSTANTIATE_TEST_SUITE_P(Cases, OutboundBadPackets, testing::ValuesIn(kBadPackets),
                         [](const auto& given) { return packet::test::identifier(given.param.name); });

TEST(Outbound, AnswersAPacketForNobodyByIcmp) {
  for (const bool v6 : {false, true}) {
    Tunnel tunnel;
    const InnerPacket packet = superpacket(udp(77, v6));
    EXPECT_TRUE(tunnel.transfer({packet}).empty());
    EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::no_peer, 1}}));
    EXPECT_EQ(tunnel.left.stats.unreachable_sent.get(), 1u);
    ASSERT_EQ(tunnel.left.inner.written.size(), 1u);
    std::array<uint8_t, packet::kMaxUnreachableBytes> answer;
    packet::IpHeader ip;
    ASSERT_EQ(packet::parse_ip(packet.bytes, ip), packet::IpError::none);
    const size_t length = packet::make_unreachable(packet.bytes.data(), ip, answer);
    EXPECT_EQ(tunnel.left.inner.written[0].bytes, Bytes(answer.begin(), answer.begin() + static_cast<long>(length)));
  }
}

TEST(Outbound, AnswersAPacketForAPeerWithoutEndpointByIcmp) {
  Tunnel tunnel;
  tunnel.to_right.path.endpoint.store({});
  EXPECT_TRUE(tunnel.transfer({superpacket(udp())}).empty());
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::no_endpoint, 1}}));
  EXPECT_EQ(tunnel.left.inner.written.size(), 1u);
}

TEST(Outbound, CountsNoAnswerThatTheInnerSideRefused) {
  Tunnel tunnel;
  tunnel.left.inner.refuse = 1;
  (void)tunnel.transfer({superpacket(udp(77))});
  EXPECT_EQ(tunnel.left.stats.unreachable_sent.get(), 0u);
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::no_peer, 1}, {DropReason::inner_refused, 1}}));
}

TEST(Outbound, LimitsIcmpAnswersAsLinuxDoes) {
  Tunnel tunnel;
  const auto answers = [&](size_t packets, protocol::Instant now) {
    tunnel.left.inner.written.clear();
    for (size_t i = 0; i < packets; ++i) tunnel.left.inner.to_read.push_back(superpacket(udp(77)));
    tunnel.left.send(now);
    return tunnel.left.inner.written.size();
  };
  EXPECT_EQ(answers(200, kStart), 50u);
  EXPECT_EQ(answers(10, kStart), 0u);
  EXPECT_EQ(answers(200, kStart + milliseconds(7)), 7u);
  EXPECT_EQ(answers(200, kStart + seconds(10)), 50u);
  EXPECT_EQ(tunnel.left.drops(DropReason::no_peer), 610u);
}

// Of hosts behind us, while this host has no address that matters.
struct Host {
  explicit Host(const std::string& text) { End::host_addresses = {test::address(text)}; }
  ~Host() { End::host_addresses.clear(); }
};

TEST(Outbound, DropsItsOwnDatagramsRatherThanWrapThemAgain) {
  for (const char* const remote : {"10.0.1.1:2000", "[fd00::2]:2000"}) {
    Tunnel tunnel;
    tunnel.left.published.listen_port = 1000;
    tunnel.to_right.path.endpoint.store(test::endpoint(remote));
    const bool v6 = remote[0] == '[';
    PacketSpec loop = udp(1, v6), other_port = loop, other_source = loop, tcp = loop;
    other_port.destination_port = 2001;
    other_source.source_port = 1001;
    tcp.tcp = true;
    EXPECT_EQ(tunnel.transfer({superpacket(loop), superpacket(other_port), superpacket(other_source), superpacket(tcp)})
                  .size(),
              3u);
    EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::routing_loop, 1}}));
    tunnel.left.send(superpacket(
        [&] {
          PacketSpec train = loop;
          train.payload_bytes = 5000;
          return train;
        }(),
        1000));
    EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::routing_loop, 2}})) << "a train";
  }
}

// A client behind this gateway has a tunnel to the same server, with the same ports on both ends.
TEST(Outbound, CarriesAnotherHostsTunnelThatLooksLikeItsOwn) {
  for (const bool v6 : {false, true}) {
    const Host host(v6 ? "[2001:db8::9]" : "198.51.100.9");
    Tunnel tunnel;
    tunnel.left.published.listen_port = 1000;
    io::Endpoint remote = test::endpoint(v6 ? "[fd00::2]:2000" : "10.0.1.1:2000");
    remote.source = test::address(v6 ? "[2001:db8::8]" : "198.51.100.8");
    tunnel.to_right.path.endpoint.store(remote);
    const InnerPacket packet = superpacket(udp(1, v6));
    EXPECT_EQ(tunnel.transfer({packet}), std::vector<Bytes>{packet.bytes});
    EXPECT_TRUE(drops_of(tunnel.left).empty());
  }
}

TEST(Outbound, KnowsItsOwnDatagramsByTheStickySourceOrAnyAddressOfTheHost) {
  for (const bool sticky : {false, true}) {
    const Host host(sticky ? "198.51.100.9" : "10.0.0.1");
    Tunnel tunnel;
    tunnel.left.published.listen_port = 1000;
    io::Endpoint remote = test::endpoint("10.0.1.1:2000");
    remote.source = test::address(sticky ? "10.0.0.1" : "198.51.100.8");
    tunnel.to_right.path.endpoint.store(remote);
    EXPECT_TRUE(tunnel.transfer({superpacket(udp())}).empty());
    EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::routing_loop, 1}}));
  }
}

TEST(Outbound, TakesNoLaterFragmentForItsOwnDatagram) {
  Tunnel tunnel;
  tunnel.left.published.listen_port = 1000;
  tunnel.to_right.path.endpoint.store(test::endpoint("10.0.1.1:2000"));
  InnerPacket fragment = superpacket(udp());
  fragment.bytes[7] = 1;
  EXPECT_EQ(tunnel.transfer({fragment}).size(), 1u);
}

TEST(Outbound, StagesWithoutAKeypairAndSendsOnceThereIsOne) {
  Tunnel tunnel;
  End stranger("192.0.2.3:1003");
  TestPeer& at_left = tunnel.left.add_peer(stranger.at);
  tunnel.left.allow(at_left, 20);
  TestPeer& at_stranger = stranger.add_peer(tunnel.left.at);
  stranger.allow(at_stranger, 20);
  std::vector<Bytes> expected;
  for (uint16_t i = 0; i < 100; ++i) {
    PacketSpec spec = udp(20);
    spec.source_port = i;
    expected.push_back(make_packet(spec));
    tunnel.left.send({expected.back(), {}});
  }
  EXPECT_TRUE(tunnel.left.outer.sent.empty());
  EXPECT_EQ(at_left.path.staged, 100u);
  EXPECT_EQ(tunnel.left.stats.packets_staged.get(), 100u);
  EXPECT_EQ(attention(tunnel.left, at_left), uint32_t{kMarks}) << "once, and not for a late keypair";
  EXPECT_TRUE(wants_handshake(at_left));

  tunnel.left.outbound.flush_staged(at_left.path, tunnel.left.inner, &tunnel.left.outer, kStart);
  EXPECT_EQ(at_left.path.staged, 100u) << "a flush without a keypair keeps them";

  test::begin_session(tunnel.left, at_left, stranger, at_stranger);
  tunnel.left.outbound.flush_staged(at_left.path, tunnel.left.inner, &tunnel.left.outer, kStart);
  EXPECT_EQ(at_left.path.staged, 0u);
  test::carry(tunnel.left, stranger);
  stranger.receive();
  EXPECT_EQ(stranger.inner.take_packets(), expected);
  EXPECT_TRUE(drops_of(tunnel.left).empty());
}

// The flush comes from the control thread and may be late.
TEST(Outbound, SendsStagedPacketsBeforeNewOnes) {
  Tunnel tunnel;
  End stranger("192.0.2.3:1003");
  TestPeer& at_left = tunnel.left.add_peer(stranger.at);
  tunnel.left.allow(at_left, 20);
  TestPeer& at_stranger = stranger.add_peer(tunnel.left.at);
  stranger.allow(at_stranger, 20);
  std::vector<Bytes> expected;
  for (uint16_t i = 0; i < 200; ++i) {
    PacketSpec spec = udp(20);
    spec.source_port = i;
    if (i >= 200 - 128 - 10) expected.push_back(make_packet(spec));
    if (i == 190) test::begin_session(tunnel.left, at_left, stranger, at_stranger);
    tunnel.left.inner.to_read.push_back(superpacket(spec));
    if (i == 189 || i == 199) tunnel.left.send();
  }
  EXPECT_EQ(at_left.path.staged, 0u);
  tunnel.left.outbound.flush_staged(at_left.path, tunnel.left.inner, &tunnel.left.outer, kStart);
  test::carry(tunnel.left, stranger);
  stranger.receive();
  EXPECT_EQ(stranger.inner.take_packets(), expected);
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::staging_full, 62}}));
}

TEST(Outbound, KeepsStagedPacketsWhileTheLinkIsDown) {
  Tunnel tunnel;
  TestPeer& peer = tunnel.left.add_peer(test::endpoint("192.0.2.3:3"));
  tunnel.left.allow(peer, 20);
  tunnel.left.send(superpacket(udp(20)));
  tunnel.left.outbound.flush_staged(peer.path, tunnel.left.inner, nullptr, kStart);
  EXPECT_EQ(peer.path.staged, 1u);
}

TEST(Outbound, CountsStagedPacketsThatAreDisplacedOrDropped) {
  Tunnel tunnel;
  TestPeer& peer = tunnel.left.add_peer(test::endpoint("192.0.2.3:3"));
  tunnel.left.allow(peer, 20);
  for (int i = 0; i < 130; ++i) tunnel.left.inner.to_read.push_back(superpacket(udp(20)));
  tunnel.left.send();
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::staging_full, 2}}));
  tunnel.left.outbound.drop_staged(peer.path, DropReason::handshake_failed);
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::staging_full, 2}, {DropReason::handshake_failed, 128}}));
}

TEST(Outbound, RoutesAStagedPacketAgainWhenItIsFlushed) {
  Tunnel tunnel;
  TestPeer& peer = tunnel.left.add_peer(test::endpoint("192.0.2.3:3"));
  tunnel.left.allow(peer, 20);
  const InnerPacket packet = superpacket(udp(20));
  tunnel.left.send(packet);
  tunnel.left.allow(tunnel.to_right, 20);  // taken from it
  tunnel.right.allow(tunnel.to_left, 20);
  tunnel.left.outbound.flush_staged(peer.path, tunnel.left.inner, &tunnel.left.outer, kStart);
  test::carry(tunnel.left, tunnel.right);
  tunnel.right.receive();
  EXPECT_EQ(tunnel.right.inner.take_packets(), std::vector<Bytes>{packet.bytes});
}

TEST(Outbound, SendsNothingOnAKeypairThatIsTooOld) {
  Tunnel tunnel;
  const auto end = kStart + protocol::kRejectAfterTime;
  EXPECT_EQ(tunnel.transfer({superpacket(udp())}, end - milliseconds(1)).size(), 1u);
  EXPECT_TRUE(tunnel.transfer({superpacket(udp())}, end).empty());
  EXPECT_EQ(tunnel.to_right.path.staged, 1u);
}

TEST(Outbound, AsksForAHandshakeByTimeOnlyAsTheInitiator) {
  Tunnel tunnel;
  const auto due = kStart + protocol::kRekeyAfterTime;
  tunnel.left.send(superpacket(udp()), due - milliseconds(1));
  tunnel.right.send(superpacket(udp()), due);
  EXPECT_FALSE(wants_handshake(tunnel.to_right, due));
  EXPECT_FALSE(wants_handshake(tunnel.to_left, due));
  (void)attention(tunnel.left, tunnel.to_right);
  tunnel.left.send(superpacket(udp()), due);
  EXPECT_EQ(attention(tunnel.left, tunnel.to_right), uint32_t{kMarks});
  EXPECT_TRUE(wants_handshake(tunnel.to_right, due));
}

TEST(Outbound, AsksForAHandshakeByMessagesOnBothSides) {
  Tunnel tunnel({.first_counter = protocol::kRekeyAfterMessages - 1});
  tunnel.right.send(superpacket(udp()));
  EXPECT_TRUE(wants_handshake(tunnel.to_left));
}

TEST(Outbound, DropsWhatItHasNoCountersLeftFor) {
  Tunnel tunnel({.first_counter = protocol::kRejectAfterMessages - 3});
  PacketSpec spec = udp();
  spec.payload_bytes = 4000;
  EXPECT_TRUE(tunnel.transfer({superpacket(spec, 1000)}).empty()) << "4 messages, all or none";
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::counters_exhausted, 4}}));
  EXPECT_EQ(attention(tunnel.left, tunnel.to_right), uint32_t{kMarks});
  EXPECT_TRUE(wants_handshake(tunnel.to_right));
  spec.payload_bytes = 3000;
  EXPECT_EQ(tunnel.transfer({superpacket(spec, 1000)}).size(), 3u);
  EXPECT_TRUE(tunnel.transfer({superpacket(udp())}).empty());
  EXPECT_EQ(tunnel.to_right.path.staged, 1u) << "waits for the next keypair";
}

TEST(Outbound, SendsOnNextAsSoonAsItIsConfirmedAndNotBefore) {
  Tunnel tunnel;
  test::begin_session(tunnel.right, tunnel.to_left, tunnel.left, tunnel.to_right, {.confirmed = false});
  const auto index_sent_to = [&] {
    tunnel.left.send(superpacket(udp()));
    const Bytes bytes = std::exchange(tunnel.left.outer.sent, {}).at(0).bytes;
    return protocol::read_message<protocol::TransportHeader>(bytes).receiver_index;
  };
  EXPECT_EQ(index_sent_to(), tunnel.to_right.keypairs.current()->remote_index());
  tunnel.right.send(superpacket(udp()));
  test::carry(tunnel.right, tunnel.left);
  tunnel.left.receive();
  EXPECT_EQ(attention(tunnel.left, tunnel.to_right) & kKeypairConfirmed, uint32_t{kKeypairConfirmed});
  EXPECT_EQ(index_sent_to(), tunnel.to_right.keypairs.next()->remote_index());
}

TEST(Outbound, CountsWhatTheOuterSideDidNotSend) {
  Tunnel tunnel;
  tunnel.left.outer.network = [](test::Departure& train) { train.datagrams_sent = 2; };
  PacketSpec spec = udp();
  spec.payload_bytes = 4800;
  tunnel.left.send(superpacket(spec, 1000));
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::send_failed, 3}}));
  EXPECT_EQ(tunnel.left.sent_to(tunnel.to_right), 2u * (1040 + 32));
}

TEST(Outbound, DropsAPacketThatNoDatagramHolds) {
  Tunnel tunnel;
  tunnel.left.published.mtu = 0;
  PacketSpec spec = udp();
  spec.payload_bytes = 65'535 - 28;
  const InnerPacket small = superpacket(udp());
  EXPECT_EQ(tunnel.transfer({small, superpacket(spec), small}).size(), 2u);
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::send_failed, 1}}));
}

TEST(Outbound, SendsWithoutGsoOnceThePathRefusedIt) {
  Tunnel tunnel;
  tunnel.left.outer.network = [](test::Departure& train) { train.gso_refused = true; };
  tunnel.left.send(superpacket(udp()));
  tunnel.left.send(superpacket(udp()));
  EXPECT_EQ(tunnel.left.outer.gso_allowed, (std::vector<bool>{true, false}));
}

TEST(Outbound, ForgetsASourceThatWasRefusedAndNoNewerOne) {
  Tunnel tunnel;
  io::Endpoint sticky = tunnel.right.at;
  sticky.source = test::address("192.0.2.50");
  io::Endpoint newer = sticky;
  newer.source = test::address("192.0.2.60");
  tunnel.to_right.path.endpoint.store(sticky);
  tunnel.left.outer.network = [&](test::Departure& train) {
    EXPECT_EQ(train.to, sticky);
    train.source_refused = true;
    tunnel.to_right.path.endpoint.store(newer);
  };
  tunnel.left.send(superpacket(udp()));
  EXPECT_EQ(tunnel.to_right.path.endpoint.load(), newer);
  tunnel.left.outer.network = [](test::Departure& train) { train.source_refused = true; };
  tunnel.left.send(superpacket(udp()));
  EXPECT_EQ(tunnel.to_right.path.endpoint.load(), tunnel.right.at);
}

TEST(Outbound, ReadsAndDropsWhileTheLinkIsDown) {
  Tunnel tunnel;
  size_t read = 0;
  tunnel.left.inner.to_read.push_back(superpacket(udp()));
  EXPECT_EQ(tunnel.left.outbound.run(tunnel.left.inner, nullptr, kStart, read), io::ReadOutcome::ok);
  EXPECT_EQ(read, 1u);
  EXPECT_TRUE(tunnel.left.inner.to_read.empty());
  EXPECT_TRUE(tunnel.left.inner.written.empty());
  EXPECT_EQ(tunnel.left.inner.leased, 0u);
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::link_down, 1}}));
}

TEST(Outbound, CountsWhatTheOuterSideHadNoMemoryFor) {
  Tunnel tunnel;
  tunnel.left.outer.lend_nothing_for = 2;
  std::vector<InnerPacket> packets;
  for (uint16_t i = 0; i < 5; ++i) {
    PacketSpec spec = udp();
    spec.source_port = i;
    packets.push_back(superpacket(spec));
  }
  const auto lengths = [&] {
    for (const InnerPacket& packet : packets) tunnel.left.inner.to_read.push_back(packet);
    tunnel.left.send();
    return tunnel.left.sent_to(tunnel.to_right);
  };
  const uint64_t bytes = protocol::padded_length(packets[0].bytes.size(), 1420) + protocol::kTransportOverhead;
  EXPECT_EQ(lengths(), 3 * bytes);
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::send_failed, 2}}));
  EXPECT_EQ(tunnel.left.stats.messages_sealed.get(), 3u);
}

TEST(Outbound, WhateverBecomesOfAPacketItsLeaseComesHome) {
  Tunnel tunnel;
  InnerPacket no_ip = superpacket(udp());
  no_ip.bytes[0] = 0;
  for (const InnerPacket& packet : {superpacket(udp()), no_ip, superpacket(udp(77)), superpacket(udp())})
    tunnel.left.inner.to_read.push_back(packet);
  tunnel.left.send();
  EXPECT_EQ(tunnel.left.inner.leased, 0u);
}

// Peers that take turns are no reason for short trains.
TEST(Outbound, TakesNoAddressForOneOfTheOtherVersionWithTheSameBytes) {
  Tunnel tunnel;
  const InnerPacket v4 = superpacket(udp());
  InnerPacket v6 = superpacket(udp(1, true));
  std::fill_n(&v6.bytes[24], 16, uint8_t{0});
  std::copy_n(&v4.bytes[16], 4, &v6.bytes[24]);
  for (const InnerPacket* packet : {&v4, static_cast<const InnerPacket*>(&v6), &v4})
    tunnel.left.inner.to_read.push_back(*packet);
  tunnel.left.send();
  EXPECT_EQ(drops_of(tunnel.left), (Drops{{DropReason::no_peer, 1}}));
  EXPECT_EQ(tunnel.left.stats.messages_sealed.get(), 2u);
}

TEST(Outbound, MakesATrainForEachPeerWhateverTheirOrder) {
  Tunnel tunnel;
  End other("192.0.2.3:1003");
  TestPeer& to_other = tunnel.left.add_peer(other.at);
  tunnel.left.allow(to_other, 20);
  TestPeer& from_left = other.add_peer(tunnel.left.at);
  other.allow(from_left, 20);
  test::begin_session(tunnel.left, to_other, other, from_left);
  for (uint16_t i = 0; i < 60; ++i) {
    PacketSpec spec = udp(i % 2 == 0 ? 1 : 20);
    spec.source_port = i;
    tunnel.left.inner.to_read.push_back(superpacket(spec));
  }
  tunnel.left.send();
  ASSERT_EQ(tunnel.left.outer.sent.size(), 2u);
  for (const test::Train& train : tunnel.left.outer.sent) EXPECT_EQ(train.datagrams().size(), 30u);
}

// The trains of a class that comes back do not overtake what was sent in between.
TEST(Outbound, KeepsAPeersOrderAcrossTrafficClasses) {
  Tunnel tunnel;
  std::vector<InnerPacket> packets;
  for (uint16_t i = 0; i < 9; ++i) {
    PacketSpec spec = udp();
    spec.source_port = i;
    spec.tos = i / 2 % 2 == 0 ? 0 : 2;
    packets.push_back(superpacket(spec));
  }
  const std::vector<Bytes> arrived = tunnel.transfer(packets);
  ASSERT_EQ(arrived.size(), packets.size());
  for (size_t i = 0; i < packets.size(); ++i) EXPECT_EQ(arrived[i], packets[i].bytes) << i;
}

TEST(Outbound, SendsMorePeersThanABatchHasDestinationsFor) {
  Tunnel tunnel;
  std::vector<std::unique_ptr<End>> ends;
  for (int i = 0; i < 300; ++i) {
    End& end = *ends.emplace_back(std::make_unique<End>("192.0.2.9:" + std::to_string(2000 + i)));
    TestPeer& there = tunnel.left.add_peer(end.at);
    tunnel.left.allowed_ips.insert(
        {{172, 16, static_cast<uint8_t>(i / 256), static_cast<uint8_t>(i)}, protocol::IpVersion::v4, 32}, &there.path);
    test::begin_session(tunnel.left, there, end, end.add_peer(tunnel.left.at));
  }
  tunnel.left.publish();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 300; ++i) {
      InnerPacket packet = superpacket(udp());
      const uint8_t to[] = {172, 16, static_cast<uint8_t>(i / 256), static_cast<uint8_t>(i)};
      std::copy(std::begin(to), std::end(to), packet.bytes.begin() + 16);
      tunnel.left.inner.to_read.push_back(packet);
    }
  }
  tunnel.left.send();
  std::map<uint16_t, size_t> sent;
  for (const test::Train& train : tunnel.left.outer.sent) sent[train.peer.port] += train.datagrams().size();
  ASSERT_EQ(sent.size(), 300u);
  for (const auto& [port, datagrams] : sent) EXPECT_EQ(datagrams, 3u) << port;
}

TEST(Outbound, PassesOnWhatBecameOfTheInnerSide) {
  Tunnel tunnel;
  for (const io::ReadOutcome outcome : {io::ReadOutcome::ok, io::ReadOutcome::down, io::ReadOutcome::gone}) {
    size_t read = 99;
    tunnel.left.inner.outcome = outcome;
    EXPECT_EQ(tunnel.left.outbound.run(tunnel.left.inner, &tunnel.left.outer, kStart, read), outcome);
    EXPECT_EQ(read, 0u);
  }
}

TEST(Outbound, LeavesMarksForTheTimers) {
  Tunnel tunnel;
  (void)tunnel.to_right.timers.set_persistent_keepalive(seconds(25));
  tunnel.left.send(superpacket(udp()));
  EXPECT_EQ(attention(tunnel.left, tunnel.to_right), uint32_t{kMarks});
  EXPECT_EQ(tunnel.to_right.timers.next_deadline(), kStart + protocol::kNewHandshakeTime);
}

}  // namespace
}  // namespace culvert::pipeline
