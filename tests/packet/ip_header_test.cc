#include "src/packet/ip_header.h"

#include <gtest/gtest.h>

#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using test::Bytes;
using test::make_packet;
using test::PacketSpec;

PacketSpec v6_spec() {
  PacketSpec spec;
  spec.v6 = true;
  spec.tos = 0xa7;
  spec.flow_label = 0xfffff;
  return spec;
}

TEST(IpHeader, SaysWhatAV4HeaderWithOptionsSays) {
  PacketSpec spec;
  spec.tos = 0xa7;
  spec.ip_options = {1, 1, 1, 1, 1, 1, 1, 0};
  Bytes bytes = make_packet(spec);
  const size_t length = bytes.size();
  bytes.resize(length + 7);  // padding
  IpHeader header;
  ASSERT_EQ(parse_ip(bytes, header), IpError::none);
  EXPECT_EQ(header.version, 4);
  EXPECT_FALSE(header.v6());
  EXPECT_EQ(header.traffic_class, 0xa7);
  EXPECT_EQ(header.protocol, IPPROTO_TCP);
  EXPECT_FALSE(header.is_fragment());
  EXPECT_EQ(header.header_length, 28);
  EXPECT_EQ(header.total_length, length);
  EXPECT_EQ(test::get32(bytes, header.source_at()), 0x0a000001u);
  EXPECT_EQ(test::get32(bytes, header.destination_at()), 0x0a000101u);
}

TEST(IpHeader, SaysWhatAV6HeaderSays) {
  const Bytes bytes = make_packet(v6_spec());
  IpHeader header;
  ASSERT_EQ(parse_ip(bytes, header), IpError::none);
  EXPECT_EQ(header.version, 6);
  EXPECT_TRUE(header.v6());
  EXPECT_EQ(header.traffic_class, 0xa7);
  EXPECT_EQ(header.protocol, IPPROTO_TCP);
  EXPECT_EQ(header.header_length, 40);
  EXPECT_EQ(header.total_length, bytes.size());
  EXPECT_EQ(bytes[header.source_at() + 15], 1);
  EXPECT_EQ(bytes[header.destination_at() + 15], 2);
}

TEST(IpHeader, TellsTheFirstFragmentFromLaterOnes) {
  const struct {
    unsigned field;
    bool fragment, later;
  } cases[] = {{0, false, false},     {0x4000, false, false}, {0x8000, false, false},
               {0x2000, true, false}, {0x2001, true, true},   {0x1000, true, true}};
  for (const auto& c : cases) {
    Bytes bytes = make_packet(PacketSpec{});
    test::put16(bytes, 6, c.field);
    IpHeader header;
    ASSERT_EQ(parse_ip(bytes, header), IpError::none);
    EXPECT_EQ(header.is_fragment(), c.fragment) << std::hex << c.field;
    EXPECT_EQ(header.is_later_fragment(), c.later) << std::hex << c.field;
  }
}

struct Case {
  const char* name;
  bool v6;
  IpError error;
  void (*change)(Bytes& packet);
};

const Case kCases[] = {
    {"nothing", false, IpError::not_ip, [](Bytes& p) { p.clear(); }},
    {"v4 cut in its header", false, IpError::not_ip, [](Bytes& p) { p.resize(19); }},
    {"v4 cut in its options", false, IpError::not_ip,
     [](Bytes& p) {
       p[0] = 0x4f;
       p.resize(59);
     }},
    {"v4 with a header too short", false, IpError::not_ip, [](Bytes& p) { p[0] = 0x44; }},
    {"v6 cut in its header", true, IpError::not_ip, [](Bytes& p) { p.resize(39); }},
    {"version 5", false, IpError::not_ip, [](Bytes& p) { p[0] = 0x55; }},
    {"version 0", true, IpError::not_ip, [](Bytes& p) { p[0] = 0; }},
    {"v4 shorter than it claims", false, IpError::length_mismatch, [](Bytes& p) { p.pop_back(); }},
    {"v6 shorter than it claims", true, IpError::length_mismatch, [](Bytes& p) { p.pop_back(); }},
    {"v4 that claims less than its header", false, IpError::length_mismatch, [](Bytes& p) { test::put16(p, 2, 19); }},
    {"v4 that claims its header alone", false, IpError::none, [](Bytes& p) { test::put16(p, 2, 20); }},
    {"v6 that claims its header alone", true, IpError::none, [](Bytes& p) { test::put16(p, 4, 0); }},
    {"v4 header alone", false, IpError::none,
     [](Bytes& p) {
       p.resize(20);
       test::put16(p, 2, 20);
     }},
};

class IpHeaderCases : public testing::TestWithParam<Case> {};

TEST_P(IpHeaderCases, AreTold) {
  PacketSpec spec;
  spec.v6 = GetParam().v6;
  Bytes bytes = make_packet(spec);
  GetParam().change(bytes);
  bytes.shrink_to_fit();
  IpHeader header;
  EXPECT_EQ(parse_ip(bytes, header), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(, IpHeaderCases, testing::ValuesIn(kCases),
                         [](const auto& it) { return test::identifier(it.param.name); });

struct Extension {
  const char* name;
  uint8_t type, length_field;
  uint32_t bytes;
};

const Extension kExtensions[] = {
    {"hop by hop options", 0, 0, 8},         {"long destination options", 60, 2, 24},
    {"a routing header", 43, 1, 16},         {"a fragment header", 44, 9, 8},
    {"an authentication header", 51, 4, 24}, {"a mobility header", 135, 1, 16},
    {"a host identity", 139, 1, 16},         {"shim6", 140, 0, 8},
};

TEST(ExtensionHeaders, AreAsLongAsTheirKindSays) {
  for (const Extension& extension : kExtensions) {
    ASSERT_TRUE(is_extension_header(extension.type)) << extension.name;
    Bytes bytes(40 + extension.bytes);
    bytes[40] = IPPROTO_UDP;
    bytes[41] = extension.length_field;
    uint8_t protocol = extension.type;
    uint32_t offset = 40;
    ASSERT_TRUE(skip_extension_header(bytes.data(), 40 + extension.bytes, protocol, offset)) << extension.name;
    EXPECT_EQ(protocol, IPPROTO_UDP);
    EXPECT_EQ(offset, 40 + extension.bytes) << extension.name;
    for (const uint32_t length : {40u, 47u, 39 + extension.bytes}) {
      protocol = extension.type;
      offset = 40;
      EXPECT_FALSE(skip_extension_header(bytes.data(), length, protocol, offset)) << extension.name;
      EXPECT_EQ(protocol, extension.type);
      EXPECT_EQ(offset, 40u);
    }
  }
}

TEST(ExtensionHeaders, AreNeitherTransportNorEncryption) {
  for (const uint8_t protocol : {6, 17, 58, 50, 59})  // TCP, UDP, ICMPv6, ESP, nothing
    EXPECT_FALSE(is_extension_header(protocol)) << int{protocol};
}

}  // namespace
}  // namespace culvert::packet
