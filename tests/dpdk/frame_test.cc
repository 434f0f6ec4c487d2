#include "dpdk/frame.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

#include "src/packet/checksum.h"

namespace culvert::dpdk {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr MacAddress kOurs = {2, 0, 0, 0, 0, 1}, kTheirs = {2, 0, 0, 0, 0, 2};
constexpr uint32_t kPayloadBytes = 100;

io::Endpoint endpoint(const std::string& text) {
  io::Endpoint result;
  EXPECT_TRUE(io::parse_endpoint(text, result)) << text;
  return result;
}

// A datagram of theirs to port 51820 of ours, as DatagramHeaders writes it.
Bytes datagram(bool v6, uint16_t vlan = 0, UdpChecksum checksum = UdpChecksum::software, uint8_t traffic_class = 0xb9) {
  DatagramHeaders headers;
  const io::Endpoint to = endpoint(v6 ? "[2001:db8::1]:51820" : "192.0.2.1:51820");
  const io::Endpoint from = endpoint(v6 ? "[2001:db8::2]:1" : "192.0.2.2:1");
  headers.prepare({kTheirs, vlan}, kOurs, to, from.remote, 4242, traffic_class);
  Bytes bytes(headers.bytes() + kPayloadBytes);
  for (size_t i = headers.bytes(); i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  uint8_t* const frame = headers.write(bytes.data() + headers.bytes(), kPayloadBytes, checksum);
  EXPECT_EQ(frame, bytes.data());
  return bytes;
}

FrameVerdict read(const Bytes& frame, uint16_t vlan = 0, bool good = false) {
  DatagramFrame ignored;
  return read_datagram(frame, {kOurs, vlan}, good, ignored);
}

void finish_v4(Bytes& frame) {
  uint8_t* const ip = &frame[14];
  const size_t header = (ip[0] & 15U) * 4;
  packet::store_be16(ip + 2, static_cast<uint32_t>(frame.size() - 14));
  packet::store<uint16_t>(ip + 10, 0);
  packet::store(ip + 10, static_cast<uint16_t>(~packet::checksum_fold(packet::checksum_add(ip, header))));
}

// Puts bytes between the IP header and UDP.
Bytes with_inserted(bool v6, const Bytes& inserted) {
  Bytes frame = datagram(v6);
  frame.insert(frame.begin() + 14 + (v6 ? 40 : 20), inserted.begin(), inserted.end());
  if (v6)
    packet::store_be16(&frame[18], static_cast<uint32_t>(frame.size() - 54));
  else
    frame[14] = static_cast<uint8_t>(0x40 | (20 + inserted.size()) / 4), finish_v4(frame);
  return frame;
}

Bytes with_v6_headers(uint8_t first, const Bytes& headers) {
  Bytes frame = with_inserted(true, headers);
  frame[20] = first;
  return frame;
}

TEST(DatagramHeaders, AreReadBackAsTheyWereWritten) {
  for (const bool v6 : {false, true}) {
    for (const uint16_t vlan : {0, 7}) {
      for (const UdpChecksum checksum : {UdpChecksum::none, UdpChecksum::software, UdpChecksum::device}) {
        if (v6 && checksum == UdpChecksum::none) continue;
        const Bytes frame = datagram(v6, vlan, checksum);
        DatagramFrame got;
        ASSERT_EQ(read_datagram(frame, {kOurs, vlan}, false, got), FrameVerdict::ours);
        EXPECT_EQ(got.v6, v6);
        EXPECT_EQ(got.payload_bytes, kPayloadBytes);
        EXPECT_EQ(got.traffic_class, 0xb9);
        EXPECT_EQ(got.udp_at + 8 + kPayloadBytes, frame.size());
        EXPECT_EQ(packet::load_be16(&frame[got.udp_at]), 4242);
        EXPECT_EQ(packet::load_be16(&frame[got.udp_at + 2]), 51820);
      }
    }
  }
}

TEST(DatagramHeaders, HaveAChecksumThatAddsUp) {
  for (const bool v6 : {false, true}) {
    const Bytes frame = datagram(v6);
    const uint8_t* const ip = &frame[14];
    const uint32_t udp_bytes = kPayloadBytes + 8;
    uint64_t sum = packet::checksum_add(ip + (v6 ? 8 : 12), v6 ? 32 : 8);
    sum += htons(17) + htons(udp_bytes);
    sum += packet::checksum_add(ip + (v6 ? 40 : 20), udp_bytes);
    EXPECT_EQ(packet::checksum_fold(sum), 0xffff) << v6;
  }
}

TEST(DatagramHeaders, LeaveTheChecksumOfV4OutIfNobodyWantsIt) {
  const Bytes frame = datagram(false, 0, UdpChecksum::none);
  EXPECT_EQ(packet::load_be16(&frame[14 + 26]), 0);
  EXPECT_EQ(packet::load_be16(&frame[14 + 6]), 0x4000) << "don't fragment";
}

TEST(DatagramHeaders, GiveTheDeviceThePseudoHeadersSum) {
  const Bytes frame = datagram(false, 0, UdpChecksum::device);
  const uint64_t sum = packet::checksum_add(&frame[26], 8) + htons(17) + htons(kPayloadBytes + 8);
  EXPECT_EQ(packet::load<uint16_t>(&frame[14 + 26]), packet::checksum_fold(sum));
}

struct Case {
  const char* name;
  FrameVerdict verdict;
  std::function<Bytes()> frame;
};

Bytes changed(bool v6, size_t at, uint8_t value, bool finish = true) {
  Bytes frame = datagram(v6);
  frame[at] = value;
  if (!v6 && finish) finish_v4(frame);
  return frame;
}

TEST(ReadDatagram, TreatsEveryFrameAsItsTableSays) {
  using enum FrameVerdict;
  const Case cases[] = {
      {"another MAC address", foreign, [] { return changed(false, 5, 7); }},
      {"a group address", foreign, [] { return changed(false, 0, 3); }},
      {"ARP", foreign, [] { return changed(false, 13, 6, false); }},
      {"TCP", foreign, [] { return changed(false, 23, 6); }},
      {"TCP over v6", foreign, [] { return changed(true, 20, 6); }},
      {"a VLAN where there is none", foreign, [] { return datagram(false, 9); }},
      {"IPv4 options", ours,
       [] {
         return with_inserted(false, {1, 1, 1, 1, 7, 4, 0, 0});
       }},
      {"a wrong IPv4 checksum", malformed, [] { return changed(false, 24, 0x5a, false); }},
      {"a wrong checksum over options", malformed,
       [] {
         Bytes frame = with_inserted(false, {1, 1, 1, 1});
         frame[35] = 0;
         return frame;
       }},
      {"version 6 in a frame of v4", malformed, [] { return changed(false, 14, 0x65, false); }},
      {"version 4 in a frame of v6", malformed, [] { return changed(true, 14, 0x45); }},
      {"an IPv4 header too short", malformed, [] { return changed(false, 14, 0x44, false); }},
      {"the first fragment", fragment, [] { return changed(false, 20, 0x20); }},
      {"a later fragment", fragment, [] { return changed(false, 21, 3); }},
      {"options hop by hop", ours,
       [] {
         return with_v6_headers(0, {17, 0, 1, 4, 0, 0, 0, 0});
       }},
      {"two extension headers", ours,
       [] {
         return with_v6_headers(0, {60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0});
       }},
      {"a routing header that is used up", ours,
       [] {
         return with_v6_headers(43, {17, 0, 4, 0, 0, 0, 0, 0});
       }},
      {"a routing header with a hop left", foreign,
       [] {
         return with_v6_headers(43, {17, 0, 4, 1, 0, 0, 0, 0});
       }},
      {"a v6 fragment", fragment,
       [] {
         return with_v6_headers(44, {17, 0, 0, 1, 0, 0, 0, 5});
       }},
      {"a later v6 fragment", fragment,
       [] {
         return with_v6_headers(44, {17, 0, 0, 8, 0, 0, 0, 5});
       }},
      {"a fragment that is the whole", ours,
       [] {
         return with_v6_headers(44, {17, 0, 0, 0, 0, 0, 0, 5});
       }},
      {"no next header", foreign,
       [] {
         return with_v6_headers(0, {59, 0, 1, 4, 0, 0, 0, 0});
       }},
      {"an extension header past the end", malformed,
       [] {
         return with_v6_headers(0, {17, 200, 1, 4, 0, 0, 0, 0});
       }},
      {"more extension headers than anybody needs", malformed,
       [] {
         Bytes headers;
         for (int i = 0; i < 9; ++i) headers.insert(headers.end(), {uint8_t(i < 8 ? 60 : 17), 0, 1, 4, 0, 0, 0, 0});
         return with_v6_headers(60, headers);
       }},
      {"v6 without a UDP checksum", malformed,
       [] {
         Bytes frame = datagram(true);
         frame[60] = frame[61] = 0;
         return frame;
       }},
      {"a UDP length below its header", malformed,
       [] {
         Bytes frame = datagram(false);
         packet::store_be16(&frame[38], 7);
         return frame;
       }},
      {"a UDP length beyond the packet", malformed,
       [] {
         Bytes frame = datagram(false);
         packet::store_be16(&frame[38], kPayloadBytes + 9);
         return frame;
       }},
      {"a trailer", ours,
       [] {
         Bytes frame = datagram(false);
         frame.resize(frame.size() + 40, 0xee);
         return frame;
       }},
  };
  for (const Case& one : cases) EXPECT_EQ(read(one.frame()), one.verdict) << one.name;
}

TEST(ReadDatagram, TakesATagWithIdZeroForNone) {
  Bytes frame = datagram(false, 5);
  EXPECT_EQ(read(frame, 5), FrameVerdict::ours);
  EXPECT_EQ(read(frame, 6), FrameVerdict::foreign);
  frame[14] = 0xe0, frame[15] = 0;
  EXPECT_EQ(read(frame), FrameVerdict::ours);
  EXPECT_EQ(read(frame, 5), FrameVerdict::foreign);
}

TEST(ReadDatagram, TrustsTheDevicesVerdictOnTheChecksum) {
  EXPECT_EQ(read(changed(false, 24, 0x5a, false), 0, true), FrameVerdict::ours);
}

// Read by bounds that hold: a run with the address sanitizer says so, as each frame has memory of its own.
TEST(ReadDatagram, ReadsNothingPastTheEnd) {
  std::mt19937 random(1);
  for (const bool v6 : {false, true}) {
    const Bytes whole = v6 ? with_v6_headers(0, {17, 0, 1, 4, 0, 0, 0, 0}) : with_inserted(false, {1, 1, 1, 1});
    for (size_t length = 0; length < whole.size(); ++length)
      EXPECT_NE(read(Bytes(whole.begin(), whole.begin() + static_cast<long>(length))), FrameVerdict::ours) << length;
    for (int i = 0; i < 20'000; ++i) {
      Bytes frame(whole.begin(), whole.begin() + static_cast<long>(random() % (whole.size() + 1)));
      for (unsigned changes = random() % 4; changes > 0 && frame.size() > 12; --changes)
        frame[12 + random() % std::min<size_t>(frame.size() - 12, 60)] = static_cast<uint8_t>(random());
      DatagramFrame got;
      if (read_datagram(frame, {kOurs, 0}, random() % 2 == 0, got) != FrameVerdict::ours) continue;
      ASSERT_LE(got.udp_at + 8 + got.payload_bytes, frame.size());
    }
  }
}

}  // namespace
}  // namespace culvert::dpdk
