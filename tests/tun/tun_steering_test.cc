// The program that chooses a queue, in the kernel that runs the tests: alone (BPF_PROG_TEST_RUN), and on a device.
#include "tun/tun_steering.h"

#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/cap_bpf.h"
#include "tests/packet/packets.h"
#include "tun/lanes.h"

namespace culvert::tun {
namespace {

using packet::test::Bytes;
using packet::test::make_packet;
using packet::test::PacketSpec;
using packet::test::put16;
using packet::test::put32;

// With as many workers as slots the answer is the slot.
class TunSteeringTest : public testing::Test {
 protected:
  void SetUp() override {
    NEEDS_CAP_BPF();
    load(io::SteeringTable(io::kSlots));
  }

  void load(const io::SteeringTable& table,
            const packet::FlowHashKey& key = {{0x0123456789abcdef, 0xfedcba9876543210}}) {
    auto made = io::SteeringMap::create(table);
    ASSERT_TRUE(made) << made.error().text();
    map = std::move(*made);
    auto loaded = load_tun_steering(*map, key);
    ASSERT_TRUE(loaded) << loaded.error().text();
    program = std::move(loaded->program);
  }

  void load_with_lanes(const io::SteeringTable& table, uint32_t count) {
    auto made = io::SteeringMap::create(table);
    ASSERT_TRUE(made) << made.error().text();
    map = std::move(*made);
    auto loaded = load_tun_steering(*map, {{1, 2}}, count);
    ASSERT_TRUE(loaded) << loaded.error().text();
    program = std::move(loaded->program);
    auto mapped = Lanes::map(loaded->lanes, count);
    ASSERT_TRUE(mapped) << mapped.error().text();
    lanes = std::move(*mapped);
  }

  // So many of the packet at once, without a pause between them. The answer for the last one.
  uint32_t run(const Bytes& packet, uint32_t times = 1) {
    Bytes frame(14);  // of an unknown protocol, so that the kernel lets any packet pass; it takes this off again
    frame.insert(frame.end(), packet.begin(), packet.end());
    put16(frame, 12, 0x88b5);
    bpf_attr attributes{};
    attributes.test.prog_fd = static_cast<uint32_t>(program.get());
    attributes.test.data_in = reinterpret_cast<uintptr_t>(frame.data());
    attributes.test.data_size_in = static_cast<uint32_t>(frame.size());
    attributes.test.repeat = times;
    EXPECT_EQ(::syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof attributes), 0) << std::strerror(errno);
    return attributes.test.retval;
  }

  std::unique_ptr<io::SteeringMap> map;
  io::Fd program;
  std::unique_ptr<Lanes> lanes;
};

PacketSpec spec(bool v6, bool tcp) {
  PacketSpec spec;
  spec.v6 = v6;
  spec.tcp = tcp;
  return spec;
}

// An echo request or reply, or another ICMP message.
Bytes icmp(bool v6, uint8_t type, unsigned id, unsigned sequence) {
  Bytes packet = make_packet(spec(v6, false));
  const size_t at = v6 ? 40 : 20;
  packet[v6 ? 6 : 9] = v6 ? uint8_t{IPPROTO_ICMPV6} : uint8_t{IPPROTO_ICMP};
  packet[at] = type;
  packet[at + 1] = 0;
  put16(packet, at + 4, id);
  put16(packet, at + 6, sequence);
  return packet;
}

// Puts extension headers, whose first one is of the kind `first`, between the IPv6 header and what follows.
Bytes with_extension(Bytes packet, uint8_t first, Bytes headers) {
  packet[6] = first;
  packet.insert(packet.begin() + 40, headers.begin(), headers.end());
  return packet;
}

Bytes ipv4_fragment(Bytes packet, unsigned fragment_field) {
  put16(packet, 6, fragment_field);
  return packet;
}

struct Pair {
  const char* name;
  Bytes one, other;
};

TEST_F(TunSteeringTest, KeepsAFlowTogether) {
  std::vector<Pair> pairs;
  for (const bool v6 : {false, true})
    for (const bool tcp : {false, true}) {
      const Bytes base = make_packet(spec(v6, tcp));
      PacketSpec other = spec(v6, tcp);
      other.sequence = 4711;
      other.payload_bytes = 3000;
      other.flags = 0x18;
      pairs.push_back({"a superpacket and one segment", base, make_packet(other)});
      other = spec(v6, tcp);
      other.payload_bytes = 0;
      pairs.push_back({"no payload", base, make_packet(other)});
      other = spec(v6, tcp);
      other.tos = 0xb8;
      other.ttl = 3;
      other.id = 99;
      other.flow_label = 0xabcde;  // Linux changes it when it sends again
      pairs.push_back({"header fields that change", base, make_packet(other)});
      if (!v6) {
        other = spec(v6, tcp);
        other.ip_options = Bytes(40, 1);
        pairs.push_back({"with options", base, make_packet(other)});
      } else {
        const Bytes next{base[6], 0, 1, 4, 0, 0, 0, 0};
        const uint8_t protocol = base[6];
        pairs.push_back({"behind hop-by-hop options", base, with_extension(base, IPPROTO_HOPOPTS, next)});
        pairs.push_back({"behind destination options", base, with_extension(base, IPPROTO_DSTOPTS, next)});
        pairs.push_back({"behind a routing header", base, with_extension(base, IPPROTO_ROUTING, next)});
        Bytes authentication(24);
        authentication[0] = protocol;
        authentication[1] = 4;
        pairs.push_back({"behind authentication", base, with_extension(base, IPPROTO_AH, authentication)});
        Bytes many;
        for (int i = 0; i < 8; ++i) many.insert(many.end(), {i < 7 ? uint8_t{60} : protocol, 0, 1, 4, 0, 0, 0, 0});
        pairs.push_back({"behind eight extension headers", base, with_extension(base, IPPROTO_HOPOPTS, many)});
      }
    }
  pairs.push_back({"the first and a later fragment", ipv4_fragment(make_packet(spec(false, false)), 0x2000),
                   ipv4_fragment(icmp(false, 77, 1, 2), 0x2001)});
  const Bytes first{IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 9}, later{IPPROTO_UDP, 0, 0x12, 0x30, 0, 0, 0, 9};
  pairs.push_back({"the first and a later fragment of v6",
                   with_extension(make_packet(spec(true, false)), IPPROTO_FRAGMENT, first),
                   with_extension(icmp(true, 77, 1, 2), IPPROTO_FRAGMENT, later)});
  pairs.push_back({"fragments behind hop-by-hop options",
                   with_extension(make_packet(spec(true, false)), IPPROTO_FRAGMENT, first),
                   with_extension(with_extension(icmp(true, 77, 1, 2), IPPROTO_FRAGMENT, later), IPPROTO_HOPOPTS,
                                  {IPPROTO_FRAGMENT, 0, 1, 4, 0, 0, 0, 0})});
  pairs.push_back({"pings of one id", icmp(false, 8, 7, 1), icmp(false, 8, 7, 2)});
  pairs.push_back({"pings of one id over v6", icmp(true, 128, 7, 1), icmp(true, 128, 7, 2)});
  pairs.push_back({"other ICMP between two hosts", icmp(false, 3, 7, 1), icmp(false, 11, 8, 2)});
  for (const Pair& pair : pairs) EXPECT_EQ(run(pair.one), run(pair.other)) << pair.name;
}

TEST_F(TunSteeringTest, TellsFlowsApart) {
  std::vector<Pair> pairs;
  for (const bool v6 : {false, true}) {
    const Bytes base = make_packet(spec(v6, true));
    PacketSpec other = spec(v6, true);
    other.source_port++;
    pairs.push_back({"source port", base, make_packet(other)});
    other = spec(v6, true);
    other.destination_port++;
    pairs.push_back({"destination port", base, make_packet(other)});
    other = spec(v6, true);
    other.host++;
    pairs.push_back({"addresses", base, make_packet(other)});
    pairs.push_back({"protocol", base, make_packet(spec(v6, false))});
    const uint8_t request = v6 ? 128 : 8;
    pairs.push_back({"id of a ping", icmp(v6, request, 7, 1), icmp(v6, request, 8, 1)});
  }
  Bytes labelled = make_packet(spec(true, true)), other_label = labelled;
  labelled[6] = other_label[6] = IPPROTO_GRE;
  put32(other_label, 0, 6u << 28 | 0x12345);
  pairs.push_back({"flow label where there are no ports", labelled, other_label});
  for (const Pair& pair : pairs) EXPECT_NE(run(pair.one), run(pair.other)) << pair.name;
}

TEST_F(TunSteeringTest, AnswersWhateverThePacketIs) {
  for (const uint8_t first : {0x00, 0x40, 0x45, 0x4f, 0x60, 0x6f, 0xff})
    for (size_t length = 1; length <= 64; ++length) {
      Bytes packet(length, 0xff);
      packet[0] = first;
      EXPECT_LT(run(packet), io::kSlots);
    }
}

TEST_F(TunSteeringTest, FillsAllSlotsAlike) {
  for (const uint64_t seed : {1, 2, 3}) {
    load(io::SteeringTable(io::kSlots), {{seed * 0x9e3779b97f4a7c15, seed * 0xc2b2ae3d27d4eb4f}});
    for (const bool v6 : {false, true}) {
      std::vector<double> hits(io::kSlots);
      Bytes packet = make_packet(spec(v6, true));
      constexpr int kFlows = 12'800;
      for (int i = 0; i < kFlows; ++i) {
        put16(packet, v6 ? 40 : 20, 20'000 + static_cast<unsigned>(i));
        ++hits.at(run(packet));
      }
      double chi_square = 0;
      for (const double each : hits) chi_square += (each - 100) * (each - 100) / 100;
      EXPECT_LT(chi_square, 127 + 5 * 16) << "127 degrees of freedom, and 5 deviations; seed " << seed;
    }
  }
}

TEST_F(TunSteeringTest, MovesOnlyTheFlowsWhoseSlotsMove) {
  std::vector<Bytes> packets;
  std::vector<size_t> slots;
  for (uint16_t port = 1; port <= 500; ++port) {
    PacketSpec flow = spec(port % 2 == 0, true);
    flow.source_port = port;
    packets.push_back(make_packet(flow));
    slots.push_back(run(packets.back()));
  }
  io::SteeringTable table(1);
  load(table);
  for (const size_t workers : {1u, 2u, 3u, 8u, 5u, 1u}) {
    table.resize(workers);
    ASSERT_TRUE(map->set(table));
    for (size_t i = 0; i < packets.size(); ++i) ASSERT_EQ(run(packets[i]), table.worker(slots[i]));
  }
}

constexpr uint32_t kMany = 100'000;

TEST_F(TunSteeringTest, GivesFlowsThatSendMuchTheQueueOfBulk) {
  io::SteeringTable table(3);
  load_with_lanes(table, 3);
  const size_t worker = run(make_packet(spec(false, true))) / 2;
  lane& shared = lanes->of(worker);
  EXPECT_EQ(run(make_packet(spec(false, true))), 2 * worker + 1);
  EXPECT_EQ(shared.moves, 0u);
  EXPECT_EQ(shared.queued, 0u);
  EXPECT_EQ(run(make_packet(spec(false, true)), kMany), 2 * worker);
  EXPECT_EQ(shared.moves, 1u) << "told once";
  EXPECT_EQ(shared.queued, uint32_t{LANE_ROOM}) << "and no more than the queue holds";
  EXPECT_GT(shared.stamps[0], 0u);
  EXPECT_GE(shared.stamps[LANE_ROOM - 1], shared.stamps[0]);
}

TEST_F(TunSteeringTest, LeavesAFlowInTheQueueOfBulkUntilItsPacketsAreDone) {
  load_with_lanes(io::SteeringTable(1), 1);
  const Bytes packet = make_packet(spec(true, true));
  EXPECT_EQ(run(packet, kMany), 0u);
  const auto silence = [] { std::this_thread::sleep_for(std::chrono::milliseconds(25)); };
  silence();
  EXPECT_EQ(run(packet), 0u);
  lanes->of(0).done = UINT64_MAX;
  while (run(packet) == 0) silence();  // it is done, and silent: in the end it is sparse
  lanes->of(0).done = 0;               // or it is so again wherever this thread has to wait for its CPU
  EXPECT_EQ(run(packet, kMany), 0u);
  EXPECT_EQ(lanes->of(0).moves, 2u);
}

TEST_F(TunSteeringTest, GivesWorkersWithoutALaneOneQueue) {
  load_with_lanes(io::SteeringTable(4), 2);
  for (uint16_t port = 1; port <= 200; ++port) {
    PacketSpec flow = spec(false, true);
    flow.source_port = port;
    const uint32_t queue = run(make_packet(flow));
    EXPECT_TRUE(queue == 1 || queue == 3 || queue == 4 || queue == 6) << queue;
  }
}

TEST_F(TunSteeringTest, SaysThatADescriptorIsNoDevice) {
  const int no_device = ::dup(0);
  EXPECT_FALSE(attach_tun_steering(no_device, program));
  ::close(no_device);
}

}  // namespace
}  // namespace culvert::tun
