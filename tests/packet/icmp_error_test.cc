#include "src/packet/icmp_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using packet::test::Bytes;
using packet::test::get16;
using packet::test::make_packet;
using packet::test::naive_checksum;
using packet::test::PacketSpec;

Bytes answer_to(const Bytes& offending) {
  std::array<uint8_t, kMaxUnreachableBytes> out{};
  IpHeader ip;
  if (parse_ip(offending, ip) != IpError::none) return {};
  const size_t length = make_unreachable(offending.data(), ip, out);
  return Bytes(out.begin(), out.begin() + static_cast<long>(length));
}

Bytes udp(bool v6, size_t payload = 4) {
  PacketSpec spec;
  spec.v6 = v6;
  spec.tcp = false;
  spec.payload_bytes = payload;
  return make_packet(spec);
}

Bytes join(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

TEST(Unreachable, V4IsTheseBytes) {
  // 10.0.0.1:1000 -> 10.0.1.1:2000, one byte 'x'.
  const Bytes offending = {0x45, 0,  0, 0x1d, 0, 0,    0x40, 0,    0x40, 0x11, 0x25, 0xcf, 10, 0,  0,
                           1,    10, 0, 1,    1, 0x03, 0xe8, 0x07, 0xd0, 0x00, 0x09, 0x00, 0,  'x'};
  const Bytes headers = {0x45, 0xc0, 0,  0x39, 0, 0, 0, 0, 0x40, 1,    0x65, 0x03, 10, 0,
                         1,    1,    10, 0,    0, 1, 3, 1, 0x79, 0x3d, 0,    0,    0,  0};
  Bytes answer = answer_to(offending);
  ASSERT_EQ(answer.size(), 57u);
  EXPECT_EQ(naive_checksum(std::span(answer).first(20)), 0xffffu);
  EXPECT_EQ(naive_checksum(std::span(answer).subspan(20)), 0xffffu);
  EXPECT_EQ(answer, join(headers, offending));
}

TEST(Unreachable, V6IsTheseBytes) {
  const Bytes offending = udp(true);
  Bytes headers(48);
  headers[0] = 0x60;
  headers[5] = 8 + 52;
  headers[6] = 58;
  headers[7] = 64;
  headers[8] = headers[24] = 0xfd;
  headers[23] = 2;  // its destination
  headers[39] = 1;  // its source
  headers[40] = 1;
  headers[41] = 3;
  Bytes answer = answer_to(offending);
  ASSERT_EQ(answer.size(), 48u + 52u);
  EXPECT_EQ(naive_checksum(std::span(answer).subspan(8), 60 + 58), 0xffffu);
  answer[42] = answer[43] = 0;
  EXPECT_EQ(answer, join(headers, offending));
}

TEST(Unreachable, V4QuotesAsMuchAsFits576Bytes) {
  for (const size_t payload : {518U, 519U, 520U, 521U, 9000U}) {
    const Bytes offending = udp(false, payload);
    const Bytes answer = answer_to(offending);
    EXPECT_EQ(answer.size(), std::min<size_t>(576, 28 + offending.size()));
    EXPECT_EQ(get16(answer, 2), answer.size());
    EXPECT_EQ(naive_checksum(std::span(answer).first(20)), 0xffffu);
    EXPECT_EQ(naive_checksum(std::span(answer).subspan(20)), 0xffffu);
    EXPECT_TRUE(std::equal(answer.begin() + 28, answer.end(), offending.begin()));
  }
}

TEST(Unreachable, V6QuotesAsMuchAsFitsTheMinimumMtu) {
  for (const size_t payload : {1183U, 1184U, 1185U, 1186U, 9000U}) {
    const Bytes offending = udp(true, payload);
    const Bytes answer = answer_to(offending);
    EXPECT_EQ(answer.size(), std::min<size_t>(1280, 48 + offending.size()));
    EXPECT_EQ(get16(answer, 4), answer.size() - 40);
    EXPECT_EQ(naive_checksum(std::span(answer).subspan(8), static_cast<unsigned>(answer.size() - 40 + 58)), 0xffffu);
    EXPECT_TRUE(std::equal(answer.begin() + 48, answer.end(), offending.begin()));
  }
}

struct Case {
  std::string name;
  bool v6;
  bool answered;
  void (*change)(Bytes& packet);
};

// Turns the transport header into ICMP of a type.
void icmp(Bytes& packet, uint8_t type) {
  const bool v6 = packet[0] >> 4 == 6;
  packet[v6 ? 6 : 9] = v6 ? 58 : 1;
  packet[v6 ? 40 : 20] = type;
}

// Puts an extension header of `bytes` and `type` before an ICMPv6 message.
void extend(Bytes& packet, uint8_t type, uint8_t length_field, size_t bytes, uint8_t icmp_type) {
  Bytes header(bytes);
  header[0] = 58;
  header[1] = length_field;
  packet[6] = type;
  packet[40] = icmp_type;
  packet.insert(packet.begin() + 40, header.begin(), header.end());
}

const Case kCases[] = {
    {"v4 packets are answered", false, true, [](Bytes&) {}},
    {"v6 packets are answered", true, true, [](Bytes&) {}},
    {"v4 first fragments are answered", false, true, [](Bytes& p) { p[6] = 0x20; }},
    {"v4 later fragments are not", false, false, [](Bytes& p) { p[7] = 1; }},
    {"v4 last fragments are not", false, false, [](Bytes& p) { p[6] = 0x10; }},
    {"v4 echo requests are answered", false, true, [](Bytes& p) { icmp(p, 8); }},
    {"v4 destination unreachable is not", false, false, [](Bytes& p) { icmp(p, 3); }},
    {"v4 source quench is not", false, false, [](Bytes& p) { icmp(p, 4); }},
    {"v4 redirect is not", false, false, [](Bytes& p) { icmp(p, 5); }},
    {"v4 time exceeded is not", false, false, [](Bytes& p) { icmp(p, 11); }},
    {"v4 parameter problem is not", false, false, [](Bytes& p) { icmp(p, 12); }},
    {"v4 ICMP without a type is not", false, false,
     [](Bytes& p) {
       icmp(p, 8);
       p.resize(20);
     }},
    {"v4 to multicast is not", false, false, [](Bytes& p) { p[16] = 224; }},
    {"v4 to broadcast is not", false, false, [](Bytes& p) { std::fill_n(p.begin() + 16, 4, uint8_t{255}); }},
    {"v4 from multicast is not", false, false, [](Bytes& p) { p[12] = 239; }},
    {"v4 from nowhere is not", false, false, [](Bytes& p) { std::fill_n(p.begin() + 12, 4, uint8_t{0}); }},
    {"v4 from loopback is not", false, false, [](Bytes& p) { p[12] = 127; }},
    {"v6 echo requests are answered", true, true, [](Bytes& p) { icmp(p, 128); }},
    {"v6 destination unreachable is not", true, false, [](Bytes& p) { icmp(p, 1); }},
    {"v6 packet too big is not", true, false, [](Bytes& p) { icmp(p, 2); }},
    {"v6 private error types are not", true, false, [](Bytes& p) { icmp(p, 127); }},
    {"v6 ICMP without a type is not", true, false,
     [](Bytes& p) {
       icmp(p, 128);
       p.resize(40);
     }},
    {"v6 errors behind hop by hop options are not", true, false, [](Bytes& p) { extend(p, 0, 0, 8, 1); }},
    {"v6 errors behind long destination options are not", true, false, [](Bytes& p) { extend(p, 60, 2, 24, 1); }},
    {"v6 errors behind a routing header are not", true, false, [](Bytes& p) { extend(p, 43, 1, 16, 3); }},
    {"v6 errors behind an authentication header are not", true, false, [](Bytes& p) { extend(p, 51, 1, 12, 1); }},
    {"v6 errors in a first fragment are not", true, false, [](Bytes& p) { extend(p, 44, 0, 8, 1); }},
    {"v6 later fragments are not", true, false,
     [](Bytes& p) {
       extend(p, 44, 0, 8, 128);
       p[42] = 1;
     }},
    {"v6 echo requests behind options are answered", true, true, [](Bytes& p) { extend(p, 0, 0, 8, 128); }},
    {"v6 with options that go past the end is not", true, false, [](Bytes& p) { extend(p, 0, 200, 8, 128); }},
    {"v6 to multicast is not", true, false, [](Bytes& p) { p[24] = 0xff; }},
    {"v6 from multicast is not", true, false, [](Bytes& p) { p[8] = 0xff; }},
    {"v6 from nowhere is not", true, false, [](Bytes& p) { std::fill_n(p.begin() + 8, 16, uint8_t{0}); }},
};

class UnreachableCases : public testing::TestWithParam<Case> {};

TEST_P(UnreachableCases, Holds) {
  Bytes packet = udp(GetParam().v6, 60);
  GetParam().change(packet);
  if (packet.size() >= 6)
    test::put16(packet, GetParam().v6 ? 4 : 2, static_cast<unsigned>(packet.size() - (GetParam().v6 ? 40 : 0)));
  EXPECT_EQ(!answer_to(packet).empty(), GetParam().answered);
}

INSTANTIATE_TEST_SUITE_P(Cases, UnreachableCases, testing::ValuesIn(kCases),
                         [](const auto& given) { return packet::test::identifier(given.param.name); });

}  // namespace
}  // namespace culvert::packet
