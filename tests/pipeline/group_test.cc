// Both pipelines between two ends that are joined by several tunnels: each end has the other's as one group.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "src/pipeline/peer_group.h"
#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using test::begin_session;
using test::Bytes;
using test::carry;
using test::Drops;
using test::drops_of;
using test::End;
using test::InnerPacket;
using test::PacketSpec;
using test::superpacket;
using test::TestPeer;

PacketSpec flow(uint16_t number, bool v6 = false) {
  PacketSpec spec;
  spec.tcp = false;
  spec.v6 = v6;
  spec.source_port = number;
  return spec;
}

// Tunnels between two ends; each tunnel has a port of its own at the right, which tells them apart.
struct Tunnels {
  explicit Tunnels(size_t count = 4) {
    for (size_t i = 0; i < count; ++i) {
      TestPeer& to_right = left.add_peer(test::endpoint("192.0.2.2:" + std::to_string(2000 + i)));
      TestPeer& to_left = right.add_peer(left.at);
      begin_session(left, to_right, right, to_left);
      left_members.push_back({&to_right.path, 1000 + i});
      right_members.push_back({&to_left.path, 2000 + i});
    }
    left_group = std::make_unique<PeerGroup>(left_members);
    right_group = std::make_unique<PeerGroup>(right_members);
    allow(left, *left_group, {10, 0});
    allow(right, *right_group, {10, 0});
  }

  // All of 10.0.0.0/16 and fd00::/16.
  static void allow(End& end, PeerGroup& group, std::array<uint8_t, 16> v4) {
    end.allowed_ips.insert({v4, protocol::IpVersion::v4, 16}, &group);
    end.allowed_ips.insert({{0xfd}, protocol::IpVersion::v6, 16}, &group);
    end.publish();
  }

  // Which tunnels the left has sent by; what it sent is gone.
  std::vector<size_t> tunnels_used() {
    std::vector<size_t> used;
    for (const test::Train& train : left.outer.sent) used.push_back(train.peer.port - 2000u);
    left.outer.sent.clear();
    return used;
  }
  size_t tunnel_of(const PacketSpec& spec) {
    left.send(superpacket(spec));
    const std::vector<size_t> used = tunnels_used();
    EXPECT_EQ(used.size(), 1u);
    return used.empty() ? SIZE_MAX : used.front();
  }

  End left{"192.0.2.1:1001"}, right{"192.0.2.2:1002"};
  std::vector<PeerGroup::Member> left_members, right_members;
  std::unique_ptr<PeerGroup> left_group, right_group;
};

TEST(Group, SpreadsFlowsOverItsTunnelsAndKeepsEachOnItsOwn) {
  for (const bool v6 : {false, true}) {
    Tunnels tunnels;
    std::set<size_t> used;
    for (uint16_t i = 0; i < 64; ++i) {
      const size_t tunnel = tunnels.tunnel_of(flow(i, v6));
      used.insert(tunnel);
      EXPECT_EQ(tunnels.tunnel_of(flow(i, v6)), tunnel) << i;
    }
    EXPECT_EQ(used.size(), 4u);
  }
}

TEST(Group, CarriesEveryPacketOfABatchThatMixesTunnels) {
  Tunnels tunnels;
  std::set<std::string> sent, received;
  const auto text = [](const Bytes& bytes) { return std::string(bytes.begin(), bytes.end()); };
  for (uint16_t i = 0; i < 200; ++i) {
    const InnerPacket packet = superpacket(flow(i, i % 3 == 0));
    sent.insert(text(packet.bytes));
    tunnels.left.inner.to_read.push_back(packet);
  }
  tunnels.left.send();
  carry(tunnels.left, tunnels.right);
  tunnels.right.receive();
  for (const Bytes& packet : tunnels.right.inner.take_packets()) received.insert(text(packet));
  EXPECT_EQ(received, sent);
  EXPECT_EQ(drops_of(tunnels.right), Drops{});
}

TEST(Group, KeepsTheOrderOfEachFlowInABatchThatMixesTunnels) {
  Tunnels tunnels;
  constexpr uint16_t kFlows = 16, kPackets = 10;
  for (uint16_t i = 0; i < kFlows * kPackets; ++i) {
    PacketSpec spec = flow(i % kFlows);
    spec.id = i;
    tunnels.left.inner.to_read.push_back(superpacket(spec));
  }
  tunnels.left.send();
  carry(tunnels.left, tunnels.right);
  tunnels.right.receive();
  std::map<unsigned, unsigned> next;
  for (const Bytes& packet : tunnels.right.inner.take_packets()) {
    const unsigned port = packet::test::get16(packet, 20), id = packet::test::get16(packet, 4);
    EXPECT_EQ(id, port + kFlows * next[port]++);
  }
  EXPECT_EQ(next.size(), kFlows);
}

TEST(Group, SendsByOtherTunnelsWhatAnExcludedOneHad) {
  Tunnels tunnels;
  uint16_t of_first = 0;
  while (tunnels.tunnel_of(flow(of_first)) != 0) ++of_first;
  tunnels.left_group->set_candidates(0, 0b1110);
  EXPECT_NE(tunnels.tunnel_of(flow(of_first)), 0u);
  tunnels.left_group->set_candidates(0, 0b1111);
  EXPECT_EQ(tunnels.tunnel_of(flow(of_first)), 0u);
}

// What waited for a tunnel without a keypair goes by another one once that is chosen.
TEST(Group, SendsWhatWasStagedForAnExcludedTunnelByAnother) {
  Tunnels tunnels;
  TestPeer& without_keys = tunnels.left.add_peer(test::endpoint("192.0.2.2:2004"));
  tunnels.left_members.push_back({&without_keys.path, 7});
  PeerGroup group(tunnels.left_members);
  group.set_candidates(0, 0b10000);
  Tunnels::allow(tunnels.left, group, {10, 0});
  const InnerPacket packet = superpacket(flow(1));
  tunnels.left.send(packet);
  EXPECT_EQ(without_keys.path.staged.load(), 1u);

  group.set_candidates(0, 0b01111);
  tunnels.left.outbound.flush_staged(without_keys.path, tunnels.left.inner, &tunnels.left.outer, test::kStart);
  EXPECT_EQ(without_keys.path.staged.load(), 0u);
  carry(tunnels.left, tunnels.right);
  tunnels.right.receive();
  EXPECT_EQ(tunnels.right.inner.take_packets(), std::vector<Bytes>{packet.bytes});
}

TEST(Group, TakesNoSourceOfTheGroupFromAStranger) {
  for (const bool v6 : {false, true}) {
    Tunnels tunnels;
    TestPeer& to_right = tunnels.left.add_peer(tunnels.right.at);
    TestPeer& stranger = tunnels.right.add_peer(tunnels.left.at);
    begin_session(tunnels.left, to_right, tunnels.right, stranger);
    PeerGroup of_stranger(std::vector<PeerGroup::Member>{{&to_right.path, 1}});
    Tunnels::allow(tunnels.left, of_stranger, {10, 0});
    tunnels.left.send(superpacket(flow(1, v6)));
    carry(tunnels.left, tunnels.right);
    tunnels.right.receive();
    EXPECT_TRUE(tunnels.right.inner.take_packets().empty());
    EXPECT_EQ(drops_of(tunnels.right), (Drops{{DropReason::source_not_allowed, 1}}));
  }
}

TEST(Group, TakesNoSourceOfAnotherPeerFromAMember) {
  Tunnels tunnels;
  TestPeer& other = tunnels.right.add_peer(tunnels.left.at);
  tunnels.right.allow(other, 1);
  tunnels.left.send(superpacket(flow(1)));
  carry(tunnels.left, tunnels.right);
  tunnels.right.receive();
  EXPECT_EQ(drops_of(tunnels.right), (Drops{{DropReason::source_not_allowed, 1}}));
}

}  // namespace
}  // namespace culvert::pipeline
