// Joining: what may be joined, what may not, and split(coalesce(x)) == x.
#include "src/packet/coalesce.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>

#include "src/packet/segment.h"
#include "tests/packet/coalescing.h"
#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using io::GsoType;
using test::Bytes;
using test::make_packet;
using test::PacketSpec;

constexpr io::InnerOffloads kAll = {true, true, true, true, true};

// One packet to write, in one piece.
struct Written {
  io::Offload offload;
  unsigned packets = 0;
  Bytes bytes;
};

std::vector<Written> coalesce(std::vector<Bytes>& packets, const io::InnerOffloads& offloads = kAll) {
  Coalescer coalescer;
  for (Bytes& packet : packets) test::add_to(coalescer, packet, offloads);
  std::vector<Written> written;
  for (const io::GatheredPacket& packet : coalescer.finish()) {
    Written& one = written.emplace_back(Written{packet.offload, packet.packets, {}});
    for (const iovec& part : packet.parts) {
      const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
      one.bytes.insert(one.bytes.end(), bytes, bytes + part.iov_len);
    }
    EXPECT_EQ(one.bytes.size(), packet.length);
    EXPECT_LE(packet.length, 65535u);
    EXPECT_LT(packet.parts.size(), 1024u);
  }
  return written;
}

std::vector<Bytes> split(Written written) {
  io::Superpacket packet;
  packet.bytes = written.bytes.data();
  packet.length = static_cast<uint32_t>(written.bytes.size());
  packet.offload = written.offload;
  SegmentPlan plan;
  EXPECT_EQ(plan.plan(packet), SegmentError::none);
  std::vector<Bytes> segments(plan.count());
  for (uint32_t i = 0; i < plan.count(); ++i) {
    segments[i].resize(plan.length(i));
    plan.write(i, segments[i].data());
  }
  return segments;
}

// `count` packets of a flow as a sender makes them, the last one shorter by `last_shorter`.
std::vector<Bytes> train(PacketSpec spec, size_t count, size_t last_shorter = 0) {
  std::vector<Bytes> packets;
  for (size_t i = 0; i < count; ++i) {
    if (i + 1 == count) spec.payload_bytes -= last_shorter;
    packets.push_back(make_packet(spec));
    spec.sequence += static_cast<uint32_t>(spec.payload_bytes);
    spec.id++;
  }
  return packets;
}

struct Family {
  const char* name;
  bool v6, tcp;
};
constexpr Family kFamilies[] = {{"TCP over v4", false, true},
                                {"TCP over v6", true, true},
                                {"UDP over v4", false, false},
                                {"UDP over v6", true, false}};

class Joining : public testing::TestWithParam<Family> {
 protected:
  PacketSpec spec() const {
    PacketSpec spec;
    spec.v6 = GetParam().v6;
    spec.tcp = GetParam().tcp;
    spec.sequence = 0xfffff000;
    spec.id = 0xfffe;
    if (spec.tcp) spec.tcp_options = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    return spec;
  }
};

TEST_P(Joining, MakesOneSuperpacketOfATrainAndCuttingGivesTheTrainBack) {
  std::vector<Bytes> packets = train(spec(), 40, 17);
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 1u);
  const io::Offload& offload = written[0].offload;
  EXPECT_EQ(written[0].packets, 40u);
  EXPECT_EQ(offload.gso, GetParam().tcp ? GsoType::tcp : GsoType::udp);
  EXPECT_EQ(offload.gso_size, 100);
  EXPECT_TRUE(offload.needs_checksum);
  EXPECT_EQ(offload.checksum_start, GetParam().v6 ? 40 : 20);
  EXPECT_EQ(offload.checksum_offset, GetParam().tcp ? 16 : 6);
  EXPECT_EQ(offload.header_length, offload.checksum_start + (GetParam().tcp ? 32 : 8));
  EXPECT_EQ(split(written[0]), original);
}

TEST_P(Joining, LeavesThePseudoHeaderSumForWhoeverFinishesTheChecksum) {
  std::vector<Bytes> packets = train(spec(), 3);
  std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 1u);
  io::Superpacket packet;
  packet.bytes = written[0].bytes.data();
  packet.length = static_cast<uint32_t>(written[0].bytes.size());
  packet.offload = written[0].offload;
  packet.offload.gso = GsoType::none;  // finish the checksum of the whole
  SegmentPlan plan;
  ASSERT_EQ(plan.plan(packet), SegmentError::none);
  Bytes whole(plan.length(0));
  plan.write(0, whole.data());
  EXPECT_TRUE(test::checksums_are_right(whole));
}

TEST_P(Joining, DoesNotTouchAPacketThatStaysAlone) {
  std::vector<Bytes> packets = train(spec(), 1);
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 1u);
  EXPECT_EQ(written[0].bytes, original[0]);
  EXPECT_FALSE(written[0].offload.needs_checksum);
  EXPECT_EQ(written[0].offload.gso, GsoType::none);
}

TEST_P(Joining, NeedsTheOffloadOfItsFamily) {
  const Family family = GetParam();
  io::InnerOffloads others = kAll;
  (family.tcp ? (family.v6 ? others.tcp6 : others.tcp4) : (family.v6 ? others.udp6 : others.udp4)) = false;
  std::vector<Bytes> packets = train(spec(), 4);
  EXPECT_EQ(coalesce(packets, others).size(), 4u);
  io::InnerOffloads no_checksum = kAll;
  no_checksum.checksum = false;
  EXPECT_EQ(coalesce(packets, no_checksum).size(), 4u);
}

TEST_P(Joining, JoinsTwoFlowsThatAlternate) {
  std::vector<Bytes> packets;
  PacketSpec other = spec();
  other.source_port++;
  const std::vector<Bytes> a = train(spec(), 10);
  const std::vector<Bytes> b = train(other, 10);
  for (size_t i = 0; i < 10; ++i) {
    packets.push_back(a[i]);
    packets.push_back(b[i]);
  }
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 2u);
  EXPECT_EQ(split(written[0]), a);
  EXPECT_EQ(split(written[1]), b);
}

TEST_P(Joining, StopsBefore65535Bytes) {
  PacketSpec big = spec();
  big.payload_bytes = 9000;
  std::vector<Bytes> packets = train(big, 16);
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 3u);
  std::vector<Bytes> back;
  for (const Written& one : written)
    for (Bytes& segment : one.packets == 1 ? std::vector<Bytes>{one.bytes} : split(one)) back.push_back(segment);
  EXPECT_EQ(back, original);
}

INSTANTIATE_TEST_SUITE_P(, Joining, testing::ValuesIn(kFamilies),
                         [](const auto& it) { return test::identifier(it.param.name); });

// A second packet that differs from the one that would fit exactly.
struct Misfit {
  const char* name;
  bool v6, tcp;
  std::function<void(PacketSpec&)> change;
};

const Misfit kMisfits[] = {
    {"another ack", false, true, [](PacketSpec& s) { s.ack++; }},
    {"another window", false, true, [](PacketSpec& s) { s.window++; }},
    {"an urgent pointer", false, true, [](PacketSpec& s) { s.urgent = 1; }},
    {"other TCP options", false, true, [](PacketSpec& s) { s.tcp_options[5]++; }},
    {"other last TCP options", false, true, [](PacketSpec& s) { s.tcp_options[11]++; }},
    {"fewer TCP options", false, true, [](PacketSpec& s) { s.tcp_options.resize(4); }},
    {"a gap in the sequence", false, true, [](PacketSpec& s) { s.sequence++; }},
    {"a retransmission", false, true, [](PacketSpec& s) { s.sequence -= 100; }},
    {"a FIN", false, true, [](PacketSpec& s) { s.flags = 0x11; }},
    {"a SYN", false, true, [](PacketSpec& s) { s.flags = 0x12; }},
    {"a RST", true, true, [](PacketSpec& s) { s.flags = 0x14; }},
    {"an ECE", true, true, [](PacketSpec& s) { s.flags = 0x50; }},
    {"a CWR", true, true, [](PacketSpec& s) { s.flags = 0x90; }},
    {"no ACK", true, true, [](PacketSpec& s) { s.flags = 0; }},
    {"no payload", false, true, [](PacketSpec& s) { s.payload_bytes = 0; }},
    {"a larger payload", false, true, [](PacketSpec& s) { s.payload_bytes++; }},
    {"a larger datagram", true, false, [](PacketSpec& s) { s.payload_bytes++; }},
    {"an empty datagram", true, false, [](PacketSpec& s) { s.payload_bytes = 0; }},
    {"a CE mark", false, true, [](PacketSpec& s) { s.tos = 3; }},
    {"a CE mark over v6", true, true, [](PacketSpec& s) { s.tos = 3; }},
    {"another TTL", false, true, [](PacketSpec& s) { s.ttl--; }},
    {"another hop limit", true, false, [](PacketSpec& s) { s.ttl--; }},
    {"another flow label", true, true, [](PacketSpec& s) { s.flow_label = 9; }},
    {"no don't fragment", false, true, [](PacketSpec& s) { s.dont_fragment = false; }},
    {"an id that jumps", false, true, [](PacketSpec& s) { s.id++; }},
    {"an id that stays", false, false, [](PacketSpec& s) { s.id--; }},
    {"another source port", false, true, [](PacketSpec& s) { s.source_port++; }},
    {"another destination port", true, false, [](PacketSpec& s) { s.destination_port++; }},
    {"other addresses", true, true, [](PacketSpec& s) { s.host++; }},
    {"IP options", false, true,
     [](PacketSpec& s) {
       s.ip_options = {1, 1, 1, 1};
     }},
    {"an extension header", true, true,
     [](PacketSpec& s) {
       s.ip_options = {6, 0, 1, 4, 0, 0, 0, 0};
       s.first_extension = 60;
     }},
};

class NotJoining : public testing::TestWithParam<Misfit> {};

TEST_P(NotJoining, KeepsBothPacketsAsTheyAre) {
  PacketSpec spec;
  spec.v6 = GetParam().v6;
  spec.tcp = GetParam().tcp;
  spec.id = 40;
  if (spec.tcp) spec.tcp_options = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<Bytes> packets = {make_packet(spec)};
  spec.sequence += 100;
  spec.id++;
  GetParam().change(spec);
  packets.push_back(make_packet(spec));
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 2u);
  EXPECT_EQ(written[0].bytes, original[0]);
  EXPECT_EQ(written[1].bytes, original[1]);
}

INSTANTIATE_TEST_SUITE_P(, NotJoining, testing::ValuesIn(kMisfits),
                         [](const auto& it) { return test::identifier(it.param.name); });

TEST(Coalescing, EndsASuperpacketWithPsh) {
  PacketSpec spec;
  std::vector<Bytes> packets = train(spec, 2);
  spec.sequence += 200;
  spec.id += 2;
  spec.flags = 0x18;
  packets.push_back(make_packet(spec));
  spec.sequence += 100;
  spec.id++;
  spec.flags = 0x10;
  packets.push_back(make_packet(spec));
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 2u);
  EXPECT_EQ(written[0].bytes[33], 0x18);
  EXPECT_EQ(split(written[0]), std::vector<Bytes>(original.begin(), original.begin() + 3));
  EXPECT_EQ(written[1].bytes, original[3]);
}

TEST(Coalescing, EndsASuperpacketWithAShorterPacket) {
  PacketSpec spec;
  std::vector<Bytes> packets = train(spec, 3, 40);
  spec.sequence += 260;
  spec.id += 3;
  packets.push_back(make_packet(spec));
  EXPECT_EQ(coalesce(packets).size(), 2u);
}

TEST(Coalescing, JoinsIdsOfZeroUnderDontFragment) {
  for (const bool tcp : {false, true}) {
    PacketSpec spec;
    spec.tcp = tcp;
    std::vector<Bytes> packets;
    for (int i = 0; i < 5; ++i) {
      packets.push_back(make_packet(spec));
      spec.sequence += 100;
    }
    const std::vector<Bytes> original = packets;
    const std::vector<Written> written = coalesce(packets);
    ASSERT_EQ(written.size(), 1u);
    std::vector<Bytes> segments = split(written[0]);
    for (size_t i = 0; i < segments.size(); ++i) {
      EXPECT_EQ(test::get16(segments[i], 4), i);
      test::put16(segments[i], 4, 0);
      test::finish_checksums(segments[i], 20, tcp);
    }
    EXPECT_EQ(segments, original);
  }
}

TEST(Coalescing, DoesNotJoinIdsOfZeroThatMayBeFragmented) {
  PacketSpec spec;
  spec.dont_fragment = false;
  std::vector<Bytes> packets = {make_packet(spec)};
  spec.sequence += 100;
  packets.push_back(make_packet(spec));
  EXPECT_EQ(coalesce(packets).size(), 2u);
}

TEST(Coalescing, DoesNotJoinUdpWithoutChecksum) {
  PacketSpec spec;
  spec.tcp = false;
  std::vector<Bytes> packets = train(spec, 3);
  for (Bytes& packet : packets) test::put16(packet, 26, 0);
  EXPECT_EQ(coalesce(packets).size(), 3u);
}

// The kernel's GRO refuses it too (inet_gro_receive: ip_fast_csum); joined, it would get a right one.
TEST(Coalescing, DoesNotJoinAPacketWhoseIpChecksumIsWrong) {
  for (const bool tcp : {false, true}) {
    for (size_t wrong = 0; wrong < 4; ++wrong) {
      PacketSpec spec;
      spec.tcp = tcp;
      spec.id = 7;
      std::vector<Bytes> packets = train(spec, 4);
      packets[wrong][10] ^= 0x10;
      const std::vector<Bytes> original = packets;
      std::vector<Bytes> back;
      for (const Written& one : coalesce(packets)) {
        const std::vector<Bytes> segments = one.packets == 1 ? std::vector<Bytes>{one.bytes} : split(one);
        back.insert(back.end(), segments.begin(), segments.end());
      }
      EXPECT_EQ(back, original) << "packet " << wrong;
    }
  }
}

// Of zero there are two forms in one's complement, and cutting writes the other.
TEST(Coalescing, DoesNotJoinAPacketWhoseIpChecksumIsTheOtherZero) {
  PacketSpec spec;
  spec.id = 7;
  Bytes first = make_packet(spec);
  // With this id the words of the header add up to 0xffff without a checksum.
  test::put16(first, 4, test::naive_checksum(Bytes{first[4], first[5], first[10], first[11]}));
  test::put16(first, 10, 0xffff);
  spec.id = static_cast<uint16_t>(test::get16(first, 4) + 1);
  spec.sequence += 100;
  std::vector<Bytes> packets = {first, make_packet(spec)};
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 2u);
  EXPECT_EQ(written[0].bytes, original[0]);
  EXPECT_EQ(written[1].bytes, original[1]);
}

TEST(Coalescing, JoinsNoMoreThan64Datagrams) {
  PacketSpec spec;
  spec.tcp = false;
  std::vector<Bytes> packets = train(spec, 130);
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 3u);
  EXPECT_EQ(written[0].packets, 64u);
  EXPECT_EQ(written[2].packets, 2u);
}

TEST(Coalescing, LetsNothingOfAFlowOvertakeItsPureAck) {
  PacketSpec spec;
  std::vector<Bytes> packets = train(spec, 4);
  PacketSpec ack = spec;
  ack.payload_bytes = 0;
  ack.sequence += 200;
  packets.insert(packets.begin() + 2, make_packet(ack));
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), 3u);
  EXPECT_EQ(written[0].packets, 2u);
  EXPECT_EQ(written[1].packets, 1u);
  EXPECT_EQ(written[2].packets, 2u);
}

TEST(Coalescing, LetsNothingOvertakeAPacketWhoseHeaderIsCutShort) {
  for (const bool tcp : {false, true}) {
    PacketSpec spec;
    spec.tcp = tcp;
    std::vector<Bytes> packets = train(spec, 4);
    Bytes cut = make_packet(spec);
    cut.resize(20 + 5);
    test::put16(cut, 2, 25);
    packets.insert(packets.begin() + 2, cut);
    EXPECT_EQ(coalesce(packets).size(), 3u);
  }
}

TEST(Coalescing, LetsNoDatagramOvertakeAFragment) {
  PacketSpec spec;
  spec.tcp = false;
  std::vector<Bytes> packets = train(spec, 4);
  Bytes fragment = make_packet(spec);
  test::put16(fragment, 6, 0x2000 | 185);
  packets.insert(packets.begin() + 2, fragment);
  EXPECT_EQ(coalesce(packets).size(), 3u);
}

TEST(Coalescing, DoesNotEndTcpFlowsForAFragmentOfUdp) {
  PacketSpec spec;
  std::vector<Bytes> packets = train(spec, 4);
  spec.tcp = false;
  Bytes fragment = make_packet(spec);
  test::put16(fragment, 6, 0x2000);
  packets.insert(packets.begin() + 2, fragment);
  EXPECT_EQ(coalesce(packets).size(), 2u);
}

TEST(Coalescing, StartsOverAfterClear) {
  std::vector<Bytes> packets = train(PacketSpec{}, 3);
  Coalescer coalescer;
  for (int round = 0; round < 3; ++round) {
    std::vector<Bytes> copy = packets;
    for (Bytes& packet : copy) test::add_to(coalescer, packet, kAll);
    ASSERT_EQ(coalescer.finish().size(), 1u);
    coalescer.clear();
    EXPECT_TRUE(coalescer.finish().empty());
  }
}

TEST(Coalescing, Passes512PacketsOf512Flows) {
  std::vector<Bytes> packets;
  PacketSpec spec;
  for (size_t i = 0; i < Coalescer::kMaxPackets; ++i) {
    spec.source_port++;
    packets.push_back(make_packet(spec));
  }
  const std::vector<Bytes> original = packets;
  const std::vector<Written> written = coalesce(packets);
  ASSERT_EQ(written.size(), packets.size());
  for (size_t i = 0; i < written.size(); ++i) EXPECT_EQ(written[i].bytes, original[i]);
}

// Random mixes of flows with everything that can go wrong on the way.
TEST(Coalescing, OfRandomTrafficSplitGivesEveryFlowBackInOrder) {
  std::mt19937 random(7);
  const auto one_in = [&random](unsigned n) { return random() % n == 0; };
  size_t joined = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<PacketSpec> flows(1 + random() % 6);
    for (size_t i = 0; i < flows.size(); ++i) {
      flows[i].v6 = one_in(2);
      flows[i].tcp = one_in(2);
      flows[i].source_port = static_cast<uint16_t>(i);
      flows[i].sequence = static_cast<uint32_t>(random());
      flows[i].id = static_cast<uint16_t>(random() | 1);
      flows[i].payload_bytes = 1 + random() % 1400;
      if (flows[i].tcp) flows[i].tcp_options.resize(random() % 4 * 4, 1);
    }
    std::vector<Bytes> packets;
    const size_t count = 1 + random() % Coalescer::kMaxPackets;
    while (packets.size() < count) {
      PacketSpec& flow = flows[random() % flows.size()];
      PacketSpec spec = flow;
      if (one_in(20)) spec.flags |= 0x08;
      if (one_in(40)) spec.flags = static_cast<uint8_t>(random());
      if (one_in(40)) spec.payload_bytes = random() % 1400;
      if (one_in(60)) spec.tos = static_cast<uint8_t>(random());
      if (one_in(60)) flow.ack++;
      if (one_in(60)) flow.sequence++;
      if (one_in(60)) flow.id += 2;
      packets.push_back(make_packet(spec));
      if (one_in(100)) packets.back()[1 + random() % (packets.back().size() - 1)] ^= 1;
      // Keep the precondition: a whole header, and the total length is right.
      if (spec.v6)
        test::put16(packets.back(), 4, static_cast<unsigned>(packets.back().size() - 40));
      else
        test::put16(packets.back(), 2, static_cast<unsigned>(packets.back().size()));
      flow.sequence += static_cast<uint32_t>(spec.payload_bytes);
      flow.id++;
    }
    std::map<std::string, std::vector<Bytes>> sent;
    for (const Bytes& packet : packets) sent[test::flow_of(packet)].push_back(packet);
    std::map<std::string, size_t> received;
    for (const Written& one : coalesce(packets)) {
      joined += one.packets > 1;
      for (const Bytes& got : one.packets == 1 ? std::vector<Bytes>{one.bytes} : split(one)) {
        const std::string flow = test::flow_of(got);
        const size_t place = received[flow]++;
        ASSERT_LT(place, sent[flow].size());
        const Bytes& before = sent[flow][place];
        ASSERT_EQ(got, one.packets == 1 ? before : test::after_joining(before, got)) << "round " << round;
      }
    }
    for (const auto& [flow, packets_of_flow] : sent) ASSERT_EQ(received[flow], packets_of_flow.size());
  }
  EXPECT_GT(joined, 1000u);
}

}  // namespace
}  // namespace culvert::packet
