// Cutting superpackets, against a slow version that computes everything from scratch, and hostile headers.
#include "src/packet/segment.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using io::GsoType;
using test::Bytes;
using test::make_packet;
using test::PacketSpec;

io::Superpacket superpacket(Bytes& bytes, GsoType gso, uint16_t gso_size) {
  io::Superpacket packet;
  packet.bytes = bytes.data();
  packet.length = static_cast<uint32_t>(bytes.size());
  packet.offload.gso = gso;
  packet.offload.needs_checksum = true;
  packet.offload.gso_size = gso_size;
  return packet;
}

std::vector<Bytes> cut(const SegmentPlan& plan) {
  std::vector<Bytes> segments(plan.count());
  // Backwards: any order is allowed.
  for (uint32_t i = plan.count(); i-- > 0;) {
    segments[i].resize(plan.length(i));
    plan.write(i, segments[i].data());
  }
  return segments;
}

struct Cut {
  const char* name;
  PacketSpec spec;
  uint16_t gso_size;
};

PacketSpec spec_of(bool v6, bool tcp, size_t payload_bytes, uint8_t flags = 0x10) {
  PacketSpec spec;
  spec.v6 = v6;
  spec.tcp = tcp;
  spec.payload_bytes = payload_bytes;
  spec.flags = flags;
  spec.id = 0xfffe;
  spec.sequence = 0xfffffe00;
  return spec;
}

PacketSpec with_tcp_options(PacketSpec spec) {
  spec.tcp_options = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
  return spec;
}

PacketSpec with_ip_options(PacketSpec spec, Bytes options) {
  spec.ip_options = std::move(options);
  return spec;
}

class Cutting : public testing::TestWithParam<Cut> {};

TEST_P(Cutting, GivesTheSameAsTheSlowVersion) {
  const Cut& param = GetParam();
  Bytes bytes = make_packet(param.spec);
  const size_t ip = (param.spec.v6 ? 40 : 20) + param.spec.ip_options.size();
  const std::vector<Bytes> expected = test::naive_segments(bytes, param.spec.tcp, ip, param.gso_size);
  // Neither the checksums nor the hints of the virtio header may matter.
  test::put16(bytes, ip + (param.spec.tcp ? 16 : 6), 0x1234);
  io::Superpacket packet = superpacket(bytes, param.spec.tcp ? GsoType::tcp : GsoType::udp, param.gso_size);
  packet.offload.header_length = 9999;
  packet.offload.checksum_start = 7;
  SegmentPlan plan;
  ASSERT_EQ(plan.plan(packet), SegmentError::none);
  EXPECT_EQ(cut(plan), expected);
}

const Cut kCuts[] = {
    {"TCP over v4 of 45 segments, ids and sequence numbers wrap", spec_of(false, true, 45 * 1448 - 7), 1448},
    {"TCP over v6 of 45 segments", spec_of(true, true, 45 * 1428 - 7), 1428},
    {"UDP over v4 of 40 segments", spec_of(false, false, 40 * 1392 - 391), 1392},
    {"UDP over v6 of 40 segments", spec_of(true, false, 40 * 1372), 1372},
    {"TCP with timestamps", with_tcp_options(spec_of(false, true, 10000)), 1436},
    {"TCP over v6 with timestamps", with_tcp_options(spec_of(true, true, 10000)), 1416},
    {"FIN and PSH stay for the last segment", spec_of(false, true, 5000, 0x19), 1000},
    {"CWR stays with the first segment, ECE with all", spec_of(true, true, 5000, 0xd0), 1000},
    {"all flags", spec_of(false, true, 2500, 0xff), 1000},
    {"a last segment of one byte", spec_of(false, true, 2001), 1000},
    {"an exact multiple", spec_of(false, true, 3000), 1000},
    {"segments of odd size", spec_of(false, false, 3333), 77},
    {"segments of one byte", spec_of(false, true, 300), 1},
    {"a GSO size above the payload is one segment", spec_of(false, true, 300), 65535},
    {"no payload is one segment", spec_of(true, true, 0), 1000},
    {"UDP without payload is one segment", spec_of(false, false, 0), 1000},
    {"v4 options are repeated", with_ip_options(spec_of(false, true, 3000), {7, 7, 4, 0, 0, 0, 0, 0}), 1000},
    {"the largest v4 packet", spec_of(false, true, 65535 - 40), 1400},
};

INSTANTIATE_TEST_SUITE_P(, Cutting, testing::ValuesIn(kCuts),
                         [](const auto& it) { return test::identifier(it.param.name); });

TEST(CuttingV6, RepeatsExtensionHeadersThatEveryPacketMayCarry) {
  PacketSpec spec = spec_of(true, true, 3000);
  spec.first_extension = 0;  // hop-by-hop
  spec.ip_options = {60, 0, 1, 4, 0, 0, 0, 0, 6, 1, 1, 4, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0};
  Bytes bytes = make_packet(spec);
  SegmentPlan plan;
  ASSERT_EQ(plan.plan(superpacket(bytes, GsoType::tcp, 1000)), SegmentError::none);
  ASSERT_EQ(plan.count(), 3u);
  for (const Bytes& segment : cut(plan)) {
    ASSERT_EQ(segment.size(), 40u + 24 + 20 + 1000);
    EXPECT_EQ(Bytes(segment.begin() + 40, segment.begin() + 64), spec.ip_options);
    EXPECT_EQ(test::get16(segment, 64 + 16), test::right_checksum(segment, 64, 16, 6));
    EXPECT_EQ(test::get16(segment, 4), segment.size() - 40);
  }
}

TEST(CuttingUdp, TurnsAChecksumOfZeroIntoItsOtherForm) {
  PacketSpec spec = spec_of(false, false, 4);
  Bytes bytes = make_packet(spec);
  // The last payload word makes the sum all ones.
  const unsigned rest = test::get16(bytes, 26) + test::get16(bytes, 30);
  test::put16(bytes, 30, (rest & 0xffff) + (rest >> 16));
  ASSERT_EQ(test::right_checksum(bytes, 20, 6, 17), 0xffffu);
  SegmentPlan plan;
  ASSERT_EQ(plan.plan(superpacket(bytes, GsoType::udp, 1000)), SegmentError::none);
  EXPECT_EQ(test::get16(cut(plan)[0], 26), 0xffffu);
}

TEST(PlainPackets, PassAsTheyAreWithoutNeedsChecksum) {
  Bytes bytes = make_packet(spec_of(false, true, 99));
  test::put16(bytes, 36, 0xdead);  // nobody asked for the checksum
  io::Superpacket packet = superpacket(bytes, GsoType::none, 0);
  packet.offload.needs_checksum = false;
  SegmentPlan plan;
  ASSERT_EQ(plan.plan(packet), SegmentError::none);
  EXPECT_EQ(cut(plan), std::vector<Bytes>{bytes});
}

TEST(PlainPackets, GetTheirChecksumWhereTheVirtioHeaderSays) {
  for (const bool v6 : {false, true}) {
    for (const bool tcp : {false, true}) {
      for (const size_t payload : {0, 1, 77, 1200}) {
        const Bytes finished = make_packet(spec_of(v6, tcp, payload));
        const size_t ip = v6 ? 40 : 20;
        const size_t field = tcp ? 16 : 6;
        Bytes bytes = finished;
        unsigned pseudo = test::naive_checksum(std::span(bytes).subspan(v6 ? 8 : 12, v6 ? 32 : 8), tcp ? 6 : 17);
        pseudo += static_cast<unsigned>(bytes.size() - ip);
        test::put16(bytes, ip + field, (pseudo & 0xffff) + (pseudo >> 16));
        io::Superpacket packet = superpacket(bytes, GsoType::none, 0);
        packet.offload.checksum_start = static_cast<uint16_t>(ip);
        packet.offload.checksum_offset = static_cast<uint16_t>(field);
        SegmentPlan plan;
        ASSERT_EQ(plan.plan(packet), SegmentError::none);
        EXPECT_EQ(cut(plan), std::vector<Bytes>{finished}) << v6 << tcp << payload;
      }
    }
  }
}

TEST(PlainPackets, LoseWhatLiesBehindTheirTotalLength) {
  const Bytes packet_bytes = make_packet(spec_of(false, true, 99));
  Bytes bytes = packet_bytes;
  bytes.resize(bytes.size() + 6, 0xee);
  io::Superpacket packet = superpacket(bytes, GsoType::none, 0);
  packet.offload.needs_checksum = false;
  SegmentPlan plan;
  ASSERT_EQ(plan.plan(packet), SegmentError::none);
  EXPECT_EQ(cut(plan), std::vector<Bytes>{packet_bytes});
}

// Each changes a good superpacket (TCP over v4, 3000 bytes in segments of 1000) into one that must be
// refused.
struct Refusal {
  const char* name;
  std::function<void(Bytes&, io::Superpacket&)> spoil;
  SegmentError error;
};

const Refusal kRefusals[] = {
    {"no byte at all", [](Bytes&, io::Superpacket& p) { p.length = 0; }, SegmentError::not_ip},
    {"one byte less than an IP header", [](Bytes&, io::Superpacket& p) { p.length = 19; }, SegmentError::not_ip},
    {"version 5", [](Bytes& b, io::Superpacket&) { b[0] = 0x55; }, SegmentError::not_ip},
    {"an IP header of 16 bytes", [](Bytes& b, io::Superpacket&) { b[0] = 0x44; }, SegmentError::not_ip},
    {"IP options behind the end",
     [](Bytes& b, io::Superpacket& p) {
       b[0] = 0x4f;
       p.length = 59;
     },
     SegmentError::not_ip},
    {"a v6 header cut short",
     [](Bytes& b, io::Superpacket& p) {
       b[0] = 0x60;
       p.length = 39;
     },
     SegmentError::not_ip},
    {"a total length above the bytes", [](Bytes&, io::Superpacket& p) { p.length--; }, SegmentError::length_mismatch},
    {"a total length below the header", [](Bytes& b, io::Superpacket&) { test::put16(b, 2, 19); },
     SegmentError::length_mismatch},
    {"a total length of zero", [](Bytes& b, io::Superpacket&) { test::put16(b, 2, 0); }, SegmentError::length_mismatch},
    {"UDP under TCP's GSO type", [](Bytes& b, io::Superpacket&) { b[9] = 17; }, SegmentError::wrong_protocol},
    {"TCP under UDP's GSO type", [](Bytes&, io::Superpacket& p) { p.offload.gso = GsoType::udp; },
     SegmentError::wrong_protocol},
    {"ICMP", [](Bytes& b, io::Superpacket&) { b[9] = 1; }, SegmentError::wrong_protocol},
    {"GRE: encapsulated GSO", [](Bytes& b, io::Superpacket&) { b[9] = 47; }, SegmentError::wrong_protocol},
    {"a first fragment", [](Bytes& b, io::Superpacket&) { test::put16(b, 6, 0x2000); }, SegmentError::wrong_protocol},
    {"a later fragment", [](Bytes& b, io::Superpacket&) { test::put16(b, 6, 1); }, SegmentError::wrong_protocol},
    {"a TCP header cut short", [](Bytes& b, io::Superpacket&) { test::put16(b, 2, 39); }, SegmentError::short_header},
    {"a TCP header of 16 bytes", [](Bytes& b, io::Superpacket&) { b[32] = 0x40; }, SegmentError::short_header},
    {"TCP options behind the end",
     [](Bytes& b, io::Superpacket&) {
       b[32] = 0xf0;
       test::put16(b, 2, 79);
     },
     SegmentError::short_header},
    {"a GSO size of zero", [](Bytes&, io::Superpacket& p) { p.offload.gso_size = 0; }, SegmentError::bad_gso_size},
    {"a checksum behind the end",
     [](Bytes&, io::Superpacket& p) {
       p.offload.gso = GsoType::none;
       p.offload.checksum_start = 20;
       p.offload.checksum_offset = 3019;
     },
     SegmentError::bad_checksum_area},
    {"a checksum start behind the end",
     [](Bytes&, io::Superpacket& p) {
       p.offload.gso = GsoType::none;
       p.offload.checksum_start = 65535;
       p.offload.checksum_offset = 65535;
     },
     SegmentError::bad_checksum_area},
    {"a checksum over the addresses",
     [](Bytes&, io::Superpacket& p) {
       p.offload.gso = GsoType::none;
       p.offload.checksum_start = 12;
       p.offload.checksum_offset = 4;
     },
     SegmentError::bad_checksum_area},
};

class Refusing : public testing::TestWithParam<Refusal> {};

TEST_P(Refusing, SaysWhyAndPlansNoSegment) {
  PacketSpec spec = spec_of(false, true, 3000);
  Bytes bytes = make_packet(spec);
  io::Superpacket packet = superpacket(bytes, GsoType::tcp, 1000);
  GetParam().spoil(bytes, packet);
  SegmentPlan plan;
  EXPECT_EQ(plan.plan(packet), GetParam().error);
  EXPECT_EQ(plan.count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(, Refusing, testing::ValuesIn(kRefusals),
                         [](const auto& it) { return test::identifier(it.param.name); });

TEST(RefusingV6, ARoutingHeaderThatIsNotUsedUp) {
  PacketSpec spec = spec_of(true, true, 3000);
  spec.first_extension = 43;
  spec.ip_options = {6, 0, 0, 1, 0, 0, 0, 0};
  Bytes bytes = make_packet(spec);
  SegmentPlan plan;
  EXPECT_EQ(plan.plan(superpacket(bytes, GsoType::tcp, 1000)), SegmentError::wrong_protocol);
}

TEST(RefusingV6, AFragmentHeader) {
  PacketSpec spec = spec_of(true, true, 3000);
  spec.first_extension = 44;
  spec.ip_options = {6, 0, 0, 0, 0, 0, 0, 1};
  Bytes bytes = make_packet(spec);
  SegmentPlan plan;
  EXPECT_EQ(plan.plan(superpacket(bytes, GsoType::tcp, 1000)), SegmentError::wrong_protocol);
}

TEST(RefusingV6, ExtensionHeadersThatRunBehindTheEnd) {
  PacketSpec spec = spec_of(true, true, 100);
  spec.first_extension = 60;
  spec.ip_options = {60, 255, 1, 4, 0, 0, 0, 0};
  Bytes bytes = make_packet(spec);
  SegmentPlan plan;
  EXPECT_EQ(plan.plan(superpacket(bytes, GsoType::tcp, 50)), SegmentError::short_header);
}

TEST(RefusingV6, APacketOfMoreThan65535Bytes) {
  Bytes bytes(65575);
  bytes[0] = 0x60;
  test::put16(bytes, 4, 65535);
  bytes[6] = 59;
  SegmentPlan plan;
  EXPECT_EQ(plan.plan(superpacket(bytes, GsoType::none, 0)), SegmentError::bad_gso_size);
}

}  // namespace
}  // namespace culvert::packet
