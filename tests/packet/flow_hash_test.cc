#include "src/packet/flow_hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using test::Bytes;
using test::make_packet;
using test::PacketSpec;

constexpr FlowHashKey kKey = {{0x0123456789abcdef, 0xfedcba9876543210}};

uint64_t hash_of(const Bytes& bytes, const FlowHashKey& key = kKey) {
  IpHeader header;
  EXPECT_EQ(parse_ip(bytes, header), IpError::none);
  return flow_hash(bytes.data(), header, key);
}

// An echo request or reply with this id, and a sequence number that changes nothing.
Bytes echo(bool v6, bool reply, unsigned id, unsigned sequence) {
  PacketSpec spec;
  spec.v6 = v6;
  spec.tcp = false;
  Bytes packet = make_packet(spec);
  packet[v6 ? 6 : 9] = v6 ? 58 : 1;
  const size_t at = v6 ? 40 : 20;
  packet[at] = static_cast<uint8_t>(v6 ? 128 + reply : 8 * !reply);
  test::put16(packet, at + 4, id);
  test::put16(packet, at + 6, sequence);
  return packet;
}

struct Change {
  const char* name;
  bool v6, tcp;
  bool same;  // whether it is the same flow still
  std::function<void(PacketSpec&)> change;
};

const Change kChanges[] = {
    {"v4 payload and sequence", false, true, true,
     [](PacketSpec& s) {
       s.sequence += 9;
       s.payload_bytes++;
     }},
    {"v4 id TTL and ECN", false, true, true,
     [](PacketSpec& s) {
       s.id++;
       s.ttl--;
       s.tos = 3;
     }},
    {"v4 IP options", false, false, true,
     [](PacketSpec& s) {
       s.ip_options = {1, 1, 1, 1};
     }},
    {"v6 flow label beside ports", true, true, true, [](PacketSpec& s) { s.flow_label = 77; }},
    {"v6 hop limit and length", true, false, true,
     [](PacketSpec& s) {
       s.ttl--;
       s.payload_bytes += 3;
     }},
    {"v4 source port", false, true, false, [](PacketSpec& s) { s.source_port++; }},
    {"v4 destination port", false, false, false, [](PacketSpec& s) { s.destination_port++; }},
    {"v6 source port", true, true, false, [](PacketSpec& s) { s.source_port++; }},
    {"v6 destination port", true, false, false, [](PacketSpec& s) { s.destination_port++; }},
    {"v4 protocol", false, true, false, [](PacketSpec& s) { s.tcp = false; }},
    {"v6 protocol", true, true, false, [](PacketSpec& s) { s.tcp = false; }},
    {"v4 addresses", false, true, false, [](PacketSpec& s) { s.host++; }},
    {"v6 addresses", true, true, false, [](PacketSpec& s) { s.host++; }},
};

class FlowHashChanges : public testing::TestWithParam<Change> {};

TEST_P(FlowHashChanges, TellsFlowsApartAndKeepsThemTogether) {
  PacketSpec spec;
  spec.v6 = GetParam().v6;
  spec.tcp = GetParam().tcp;
  const uint64_t before = hash_of(make_packet(spec));
  GetParam().change(spec);
  EXPECT_EQ(hash_of(make_packet(spec)) == before, GetParam().same);
}

INSTANTIATE_TEST_SUITE_P(, FlowHashChanges, testing::ValuesIn(kChanges),
                         [](const auto& it) { return test::identifier(it.param.name); });

TEST(FlowHash, IsAnotherUnderAnotherKey) {
  const Bytes packet = make_packet(PacketSpec{});
  EXPECT_NE(hash_of(packet), hash_of(packet, FlowHashKey{{kKey.words[0] + 1, kKey.words[1]}}));
  EXPECT_NE(hash_of(packet), hash_of(packet, FlowHashKey{{kKey.words[0], kKey.words[1] + 1}}));
  const FlowHashKey random = make_flow_hash_key();
  EXPECT_NE(hash_of(packet, random), hash_of(packet, make_flow_hash_key()));
}

TEST(FlowHash, TellsPingsApartByTheirId) {
  for (const bool v6 : {false, true}) {
    for (const bool reply : {false, true}) {
      EXPECT_EQ(hash_of(echo(v6, reply, 5, 1)), hash_of(echo(v6, reply, 5, 2)));
      EXPECT_NE(hash_of(echo(v6, reply, 5, 1)), hash_of(echo(v6, reply, 6, 1)));
    }
  }
}

// An error has no id: what stands there, the MTU of "packet too big" for one, may change.
TEST(FlowHash, SeesNoIdInAnIcmpError) {
  for (const bool v6 : {false, true}) {
    Bytes a = echo(v6, false, 5, 1), b = echo(v6, false, 6, 1);
    a[v6 ? 40 : 20] = b[v6 ? 40 : 20] = 3;
    EXPECT_EQ(hash_of(a), hash_of(b));
  }
}

TEST(FlowHash, KeepsAllFragmentsOfTwoAddressesTogether) {
  PacketSpec spec;
  Bytes first = make_packet(spec);
  spec.source_port++;
  spec.tcp = false;
  Bytes later = make_packet(spec);
  test::put16(first, 6, 0x2000);
  test::put16(later, 6, 185);
  EXPECT_EQ(hash_of(first), hash_of(later));
  spec.host++;
  Bytes of_others = make_packet(spec);
  test::put16(of_others, 6, 185);
  EXPECT_NE(hash_of(later), hash_of(of_others));
}

TEST(FlowHash, KeepsAllV6FragmentsOfTwoAddressesTogether) {
  PacketSpec spec;
  spec.v6 = true;
  spec.first_extension = IPPROTO_FRAGMENT;
  spec.ip_options = {6, 0, 0, 1, 0, 0, 0, 1};
  const Bytes first = make_packet(spec);
  spec.ip_options = {6, 0, 5, 8, 0, 0, 0, 2};
  spec.source_port++;
  spec.flow_label = 5;
  EXPECT_EQ(hash_of(first), hash_of(make_packet(spec)));
}

TEST(FlowHash, GoesByTheFlowLabelWhereThereAreNoPorts) {
  PacketSpec spec;
  spec.v6 = true;
  spec.flow_label = 1;
  Bytes a = make_packet(spec);
  spec.source_port++;
  Bytes b = make_packet(spec);
  spec.flow_label = 2;
  Bytes c = make_packet(spec);
  a[6] = b[6] = c[6] = IPPROTO_ESP;
  EXPECT_EQ(hash_of(a), hash_of(b));
  EXPECT_NE(hash_of(a), hash_of(c));
}

TEST(FlowHash, ReadsNothingBehindThePacket) {
  for (const bool v6 : {false, true}) {
    const size_t ip = v6 ? 40 : 20;
    for (const unsigned protocol : {6u, 17u, 1u, 58u}) {
      const size_t needed = protocol == 6 || protocol == 17 ? 4 : 8;
      for (size_t transport = 0; transport < needed; ++transport) {
        Bytes bytes = echo(v6, false, 1, 1);
        bytes[v6 ? 6 : 9] = static_cast<uint8_t>(protocol);
        test::put16(bytes, v6 ? 4 : 2, static_cast<unsigned>(v6 ? transport : ip + transport));
        Bytes other = bytes;
        for (size_t i = ip + transport; i < bytes.size(); ++i) other[i] ^= 0x55;
        EXPECT_EQ(hash_of(bytes), hash_of(other)) << protocol << " with " << transport << " bytes";
      }
    }
  }
}

// A packet with `outer` in front: IPv4 with this protocol, and perhaps a GRE header.
Bytes in_tunnel(uint8_t protocol, const Bytes& between, const Bytes& inner) {
  Bytes packet(20 + between.size() + inner.size());
  packet[0] = 0x45;
  test::put16(packet, 2, static_cast<unsigned>(packet.size()));
  packet[9] = protocol;
  test::put32(packet, 12, 0xc0000201);
  test::put32(packet, 16, 0xc0000202);
  std::copy(inner.begin(), inner.end(), std::copy(between.begin(), between.end(), packet.begin() + 20));
  return packet;
}

struct TunnelCase {
  const char* name;
  uint8_t protocol;
  Bytes between;
  bool v6, is_looked_into;
};

const TunnelCase kTunnels[] = {
    {"IPv4 in IP", IPPROTO_IPIP, {}, false, true},
    {"IPv6 in IP", IPPROTO_IPV6, {}, true, true},
    {"GRE", IPPROTO_GRE, {0, 0, 8, 0}, false, true},
    {"GRE with IPv6", IPPROTO_GRE, {0, 0, 0x86, 0xdd}, true, true},
    {"GRE with checksum and key", IPPROTO_GRE, {0xa0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 9}, false, true},
    {"GRE with sequence numbers", IPPROTO_GRE, {0x10, 0, 8, 0, 0, 0, 0, 1}, false, false},
    {"GRE with source routes", IPPROTO_GRE, {0x40, 0, 8, 0, 0, 0, 0, 0}, false, false},
    {"GRE of PPTP", IPPROTO_GRE, {0x20, 1, 0x88, 0x0b, 0, 0, 0, 0}, false, false},
    {"GRE with Ethernet", IPPROTO_GRE, {0, 0, 0x65, 0x58}, false, false},
    {"ESP", IPPROTO_ESP, {}, false, false},
};

class FlowHashTunnels : public testing::TestWithParam<TunnelCase> {};

TEST_P(FlowHashTunnels, LooksWhereFlowsMayOvertakeEachOther) {
  const TunnelCase& it = GetParam();
  PacketSpec spec;
  spec.v6 = it.v6;
  const auto hash = [&] { return hash_of(in_tunnel(it.protocol, it.between, make_packet(spec))); };
  const uint64_t before = hash();
  spec.sequence++;
  EXPECT_EQ(hash(), before) << "the same flow";
  spec.source_port++;
  EXPECT_EQ(hash() != before, it.is_looked_into);
  Bytes fragment = in_tunnel(it.protocol, it.between, make_packet(spec)), other = fragment;
  test::put16(fragment, 6, 0x2000);
  test::put16(other, 6, 0x00b9);
  EXPECT_EQ(hash_of(fragment), hash_of(other)) << "fragments go by their addresses";
}

INSTANTIATE_TEST_SUITE_P(, FlowHashTunnels, testing::ValuesIn(kTunnels),
                         [](const auto& it) { return test::identifier(it.param.name); });

TEST(FlowHash, ReadsNothingBehindATunnelThatIsCutShort) {
  for (const TunnelCase& it : kTunnels) {
    PacketSpec spec;
    spec.v6 = it.v6;
    const Bytes whole = in_tunnel(it.protocol, it.between, make_packet(spec));
    for (size_t length = 20; length < whole.size(); ++length) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<long>(length));
      test::put16(cut, 2, static_cast<unsigned>(length));
      (void)hash_of(std::vector<uint8_t>(cut));  // the address sanitizer sees what it reads
    }
  }
}

// How far from even the counts are: chi-square, in deviations of what chance makes of it.
double deviation(const std::vector<double>& counts, size_t flows) {
  const double expected = static_cast<double>(flows) / static_cast<double>(counts.size());
  double chi_square = 0;
  for (const double count : counts) chi_square += (count - expected) * (count - expected) / expected;
  const auto freedom = static_cast<double>(counts.size() - 1);
  return (chi_square - freedom) / std::sqrt(2 * freedom);
}

// How far from even `flows` with ports that count up, as those of one host do, fill the places. A place is chosen by
// the rest of a division, or by the range of the hash.
double unevenness(bool v6, const FlowHashKey& key, size_t places, bool by_range, size_t flows) {
  std::vector<double> counts(places);
  PacketSpec spec;
  spec.v6 = v6;
  spec.payload_bytes = 0;
  Bytes packet = make_packet(spec);
  for (size_t i = 0; i < flows; ++i) {
    test::put16(packet, v6 ? 40 : 20, static_cast<unsigned>(1024 + i));
    const uint64_t hash = hash_of(packet, key);
    ++counts[by_range ? (hash >> 32) * places >> 32 : hash % places];
  }
  return deviation(counts, flows);
}

TEST(FlowHash, SpreadsFlowsEvenlyUnderEveryKey) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 400; ++i) {
    const FlowHashKey key = {{random(), random()}};
    for (const bool v6 : {false, true})
      for (const size_t places : {2u, 8u, 61u})
        for (const bool by_range : {false, true})
          ASSERT_LT(unevenness(v6, key, places, by_range, 2000), 12)
              << places << (v6 ? " over v6" : " over v4") << (by_range ? " by range" : " by rest") << ", key " << i;
  }
}

// Flows as hosts make them: some addresses, ports that count up, services that repeat. 4 deviations are one in 30,000,
// and the key is always the same.
TEST(FlowHash, ChoosesAmongPortsEvenlyFor100000Flows) {
  for (const bool v6 : {false, true}) {
    for (const size_t ports : {2u, 3u, 5u, 8u, 16u, 64u, 128u}) {
      std::vector<double> counts(ports);
      PacketSpec spec;
      spec.v6 = v6;
      spec.payload_bytes = 0;
      constexpr size_t kFlows = 100'000, kHosts = 25;
      for (size_t i = 0; i < kFlows; ++i) {
        spec.host = static_cast<uint8_t>(i % kHosts);
        spec.source_port = static_cast<uint16_t>(1024 + i / kHosts);
        spec.destination_port = i % 2 == 0 ? 443 : 53;
        ++counts[choose(hash_of(make_packet(spec)), ports)];
      }
      EXPECT_LT(std::abs(deviation(counts, kFlows)), 4) << ports << (v6 ? " over v6" : " over v4");
    }
  }
}

TEST(FlowHash, SpreadsManyFlowsOverManyPlaces) {
  for (const bool v6 : {false, true})
    for (const bool by_range : {false, true}) EXPECT_LT(unevenness(v6, kKey, 2048, by_range, 60000), 6);
}

}  // namespace
}  // namespace culvert::packet
