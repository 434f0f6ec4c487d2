// Outbound and Inbound back to back: what goes in on one end comes out on the other.
#include <gtest/gtest.h>

#include "src/packet/ecn.h"
#include "src/protocol/messages.h"
#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using test::Bytes;
using test::End;
using test::InnerPacket;
using test::PacketSpec;
using test::superpacket;
using test::TestPeer;
using test::Tunnel;

struct Case {
  std::string name;
  PacketSpec spec;
  uint16_t gso_size = 0;
  size_t copies = 1;  // the sequence number goes on
};

PacketSpec spec_of(bool v6, bool tcp, size_t payload_bytes) {
  PacketSpec spec;
  spec.v6 = v6;
  spec.tcp = tcp;
  spec.payload_bytes = payload_bytes;
  return spec;
}

std::vector<InnerPacket> packets_of(const Case& one) {
  std::vector<InnerPacket> packets;
  PacketSpec spec = one.spec;
  for (size_t i = 0; i < one.copies; ++i) {
    packets.push_back(superpacket(spec, one.gso_size));
    spec.sequence += static_cast<uint32_t>(spec.payload_bytes);
    ++spec.id;
  }
  return packets;
}

std::vector<Bytes> segments_of(const std::vector<InnerPacket>& packets) {
  std::vector<Bytes> segments;
  for (const InnerPacket& packet : packets)
    for (Bytes& segment : test::segments_of(packet)) segments.push_back(std::move(segment));
  return segments;
}

class DataPathCases : public testing::TestWithParam<Case> {};

TEST_P(DataPathCases, ArrivesAsAHostWouldHaveSentIt) {
  const std::vector<InnerPacket> packets = packets_of(GetParam());
  Tunnel tunnel;
  EXPECT_EQ(tunnel.transfer(packets), segments_of(packets));
  EXPECT_TRUE(test::drops_of(tunnel.left).empty());
  EXPECT_TRUE(test::drops_of(tunnel.right).empty());
}

TEST_P(DataPathCases, ArrivesOneByOneWhereTheInnerSideTakesNoSuperpackets) {
  const std::vector<InnerPacket> packets = packets_of(GetParam());
  Tunnel tunnel;
  tunnel.right.inner.takes = {};
  EXPECT_EQ(tunnel.transfer(packets), segments_of(packets));
}

TEST_P(DataPathCases, IsCountedAlikeOnBothEnds) {
  const std::vector<InnerPacket> packets = packets_of(GetParam());
  uint64_t wire_bytes = 0;
  for (const Bytes& segment : segments_of(packets))
    wire_bytes += protocol::padded_length(segment.size(), 1420) + protocol::kTransportOverhead;
  Tunnel tunnel;
  (void)tunnel.transfer(packets);
  EXPECT_EQ(tunnel.left.sent_to(tunnel.to_right), wire_bytes);
  EXPECT_EQ(tunnel.right.received_from(tunnel.to_left), wire_bytes);
  EXPECT_EQ(tunnel.left.stats.inner_packets_read.get(), packets.size());
  EXPECT_EQ(tunnel.left.stats.messages_sealed.get(), segments_of(packets).size());
  EXPECT_EQ(tunnel.right.stats.messages_opened.get(), segments_of(packets).size());
  EXPECT_GT(tunnel.right.stats.inner_packets_written.get(), 0u);
}

const Case kCases[] = {
    {"a small v4 TCP packet", spec_of(false, true, 1)},
    {"an empty v6 TCP packet", spec_of(true, true, 0)},
    {"a small v4 UDP packet", spec_of(false, false, 1)},
    {"a small v6 UDP packet", spec_of(true, false, 33)},
    {"a full v4 TCP packet", spec_of(false, true, 1380)},
    {"a v4 TCP superpacket", spec_of(false, true, 60'000), 1380},
    {"a v6 TCP superpacket", spec_of(true, true, 60'000), 1360},
    {"a v4 UDP superpacket", spec_of(false, false, 40'000), 1392},
    {"a v6 UDP superpacket", spec_of(true, false, 40'001), 1372},
    {"a TCP superpacket of many tiny segments", spec_of(false, true, 10'000), 8},
    {"a batch of v4 TCP superpackets, more than the arena holds", spec_of(false, true, 64'000), 1380, 64},
    {"a batch of v6 UDP superpackets", spec_of(true, false, 64'000), 1372, 40},
    {"a thousand small packets", spec_of(false, false, 64), 0, 1000},
    {"jumbo packets", spec_of(false, true, 8'900), 0, 30},
    {"packets nearly as long as a datagram", spec_of(false, true, 65'456 - 40), 0, 3},
};

INSTANTIATE_TEST_SUITE_P(Cases, DataPathCases, testing::ValuesIn(kCases),
                         [](const auto& given) { return packet::test::identifier(given.param.name); });

TEST(DataPath, CoalescesWhatItHadCut) {
  Tunnel tunnel;
  tunnel.left.send(superpacket(spec_of(false, true, 60'000), 1380));
  EXPECT_EQ(tunnel.left.outer.sent.size(), 1u) << "one train";
  test::carry(tunnel.left, tunnel.right);
  tunnel.right.receive();
  EXPECT_EQ(tunnel.right.inner.written.size(), 1u);
}

TEST(DataPath, CarriesBothDirections) {
  Tunnel tunnel;
  const Bytes packet = make_packet(spec_of(true, true, 500));
  tunnel.right.send({packet, {}});
  test::carry(tunnel.right, tunnel.left);
  tunnel.left.receive();
  EXPECT_EQ(tunnel.left.inner.take_packets(), std::vector<Bytes>{packet});
}

TEST(DataPath, KeepsPeersApartHoweverTheyInterleave) {
  End hub("192.0.2.1:1001");
  std::vector<std::unique_ptr<End>> spokes;
  for (uint8_t i = 0; i < 5; ++i) {
    End& spoke = *spokes.emplace_back(std::make_unique<End>("192.0.2.9:" + std::to_string(2000 + i)));
    TestPeer& at_hub = hub.add_peer(spoke.at);
    hub.allow(at_hub, static_cast<uint8_t>(10 * i + 1));
    TestPeer& at_spoke = spoke.add_peer(hub.at);
    spoke.allow(at_spoke, static_cast<uint8_t>(10 * i + 1));
    test::begin_session(hub, at_hub, spoke, at_spoke);
  }
  std::mt19937 random(7);
  std::vector<std::vector<Bytes>> expected(spokes.size());
  for (uint16_t i = 0; i < 500; ++i) {
    const size_t to = random() % spokes.size();
    PacketSpec spec = spec_of(random() % 2 != 0, false, random() % 1392);
    spec.host = static_cast<uint8_t>(10 * to + 1);
    spec.source_port = i;  // a flow of its own: it is not joined with others
    expected[to].push_back(make_packet(spec));
    hub.inner.to_read.push_back({expected[to].back(), {}});
  }
  hub.send();
  for (const test::Train& train : hub.outer.sent) {
    const auto spoke =
        std::find_if(spokes.begin(), spokes.end(), [&](const auto& one) { return one->at == train.peer; });
    ASSERT_NE(spoke, spokes.end());
    test::Train arriving = train;
    arriving.peer = hub.at;
    (*spoke)->outer.to_receive.push_back(std::move(arriving));
  }
  for (size_t i = 0; i < spokes.size(); ++i) {
    spokes[i]->receive();
    EXPECT_EQ(spokes[i]->inner.take_packets(), expected[i]) << "spoke " << i;
    EXPECT_TRUE(test::drops_of(*spokes[i]).empty());
  }
}

// Keypairs of several peers in one batch, each message of another one than the last.
TEST(DataPath, OpensBatchesThatMixPeers) {
  End hub("192.0.2.1:1001");
  std::vector<std::unique_ptr<End>> spokes;
  std::vector<Bytes> expected;
  for (uint8_t i = 0; i < 4; ++i) {
    End& spoke = *spokes.emplace_back(std::make_unique<End>("192.0.2.9:" + std::to_string(2000 + i)));
    TestPeer& at_hub = hub.add_peer({});
    hub.allow(at_hub, static_cast<uint8_t>(10 * i + 1));
    TestPeer& at_spoke = spoke.add_peer(hub.at);
    spoke.allow(at_spoke, static_cast<uint8_t>(10 * i + 1));
    test::begin_session(spoke, at_spoke, hub, at_hub);
  }
  for (uint16_t i = 0; i < 400; ++i) {
    End& spoke = *spokes[i % spokes.size()];
    PacketSpec spec = spec_of(false, false, 100);
    spec.host = static_cast<uint8_t>(10 * (i % spokes.size()) + 1);
    spec.source_port = i;
    expected.push_back(make_packet(spec));
    spoke.send({expected.back(), {}});
    test::carry(spoke, hub);
  }
  hub.receive();
  EXPECT_EQ(hub.inner.take_packets(), expected);
  for (size_t i = 0; i < spokes.size(); ++i) EXPECT_EQ(hub.peers[i]->path.endpoint.load(), spokes[i]->at);
}

TEST(DataPath, PadsToSixteenBytesButNotPastTheMtu) {
  for (const uint32_t mtu : {1280U, 1420U, 1421U, 1500U, 9000U}) {
    for (const bool v6 : {false, true}) {
      const size_t header = v6 ? 48 : 28;
      for (size_t length :
           {header, header + 1, size_t{100}, size_t{1264}, mtu - size_t{17}, mtu - size_t{1}, size_t{mtu}}) {
        Tunnel tunnel;
        tunnel.left.published.mtu = mtu;
        const InnerPacket packet = superpacket(spec_of(v6, false, length - header));
        ASSERT_EQ(packet.bytes.size(), length);
        tunnel.left.send(packet);
        const size_t padded = std::min<size_t>(mtu, (length + 15) / 16 * 16);
        EXPECT_EQ(tunnel.left.outer.sent.at(0).bytes.size(), padded + 32) << length << " of " << mtu;
        test::carry(tunnel.left, tunnel.right);
        tunnel.right.receive();
        EXPECT_EQ(tunnel.right.inner.take_packets(), std::vector<Bytes>{packet.bytes});
      }
    }
  }
}

TEST(DataPath, CopiesEcnOutAndCombinesItIn) {
  for (const bool v6 : {false, true}) {
    PacketSpec spec = spec_of(v6, true, 100);
    spec.tos = 0xb8 | packet::kEcnCapable0;
    Tunnel tunnel;
    test::Train train = tunnel.seal({superpacket(spec)});
    EXPECT_EQ(train.traffic_class, packet::kEcnCapable0);
    train.traffic_class = 0x20 | packet::kEcnCongestion;
    tunnel.right.receive(train);
    spec.tos = 0xb8 | packet::kEcnCongestion;
    EXPECT_EQ(tunnel.right.inner.take_packets(), std::vector<Bytes>{make_packet(spec)});
  }
}

TEST(DataPath, CarriesAnythingInTheOrderOfItsFlows) {
  std::mt19937 random(3);
  Tunnel tunnel;
  std::map<std::string, std::vector<Bytes>> expected, arrived;
  std::map<std::string, uint32_t> sequences;
  for (int i = 0; i < 1500; ++i) {
    PacketSpec spec =
        spec_of(random() % 2 != 0, random() % 2 != 0, random() % 3 == 0 ? random() % 30'000 : random() % 1300);
    spec.source_port = static_cast<uint16_t>(1 + random() % 5);
    spec.id = static_cast<uint16_t>(random() % 3 == 0 ? random() : 1);
    const std::string flow = std::to_string(spec.v6) + std::to_string(spec.tcp) + std::to_string(spec.source_port);
    spec.sequence = sequences[flow];
    sequences[flow] += static_cast<uint32_t>(spec.payload_bytes);
    const InnerPacket packet = superpacket(spec, static_cast<uint16_t>(500 + random() % 860));
    tunnel.left.inner.to_read.push_back(packet);
    for (Bytes& segment : test::segments_of(packet))
      expected[packet::test::flow_of(segment)].push_back(std::move(segment));
  }
  tunnel.left.send();
  test::carry(tunnel.left, tunnel.right);
  tunnel.right.receive();
  for (Bytes& packet : tunnel.right.inner.take_packets())
    arrived[packet::test::flow_of(packet)].push_back(std::move(packet));
  for (auto& [flow, packets] : expected)
    EXPECT_TRUE(arrived[flow] == packets) << arrived[flow].size() << " of " << packets.size();
  EXPECT_TRUE(test::drops_of(tunnel.left).empty());
  EXPECT_TRUE(test::drops_of(tunnel.right).empty());
}

}  // namespace
}  // namespace culvert::pipeline
