#include "src/pipeline/peer_group.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "tests/packet/packets.h"
#include "tests/pipeline/peers.h"

namespace culvert::pipeline {
namespace {

using test::TestPeer;

// Members with seeds of their own, and a group of them.
struct Members {
  explicit Members(size_t count, uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    std::vector<PeerGroup::Member> members;
    for (size_t i = 0; i < count; ++i) members.push_back({&peers.emplace_back(i + 1).path, random()});
    group = std::make_unique<PeerGroup>(members);
  }

  size_t choose(uint64_t flow) const { return group->choose(flow, 0).id - 1; }
  void let_only(uint64_t candidates) const { group->set_candidates(0, candidates); }

  std::deque<TestPeer> peers;
  std::unique_ptr<PeerGroup> group;
};

// The hashes of flows between two hosts, whose ports count up.
std::vector<uint64_t> flows(size_t count, const packet::FlowHashKey& key) {
  packet::test::PacketSpec spec;
  spec.tcp = false;
  spec.payload_bytes = 0;
  packet::test::Bytes bytes = make_packet(spec);
  packet::IpHeader ip;
  EXPECT_EQ(packet::parse_ip(bytes, ip), packet::IpError::none);
  std::vector<uint64_t> hashes;
  for (size_t i = 0; i < count; ++i) {
    packet::test::put16(bytes, 20, static_cast<unsigned>(i & 0xffff));
    packet::test::put16(bytes, 22, static_cast<unsigned>(i >> 16));
    hashes.push_back(packet::flow_hash(bytes.data(), ip, key));
  }
  return hashes;
}

std::vector<uint64_t> flows(size_t count) {
  return flows(count, {{0x0123456789abcdef, 0xfedcba9876543210}});
}

// Chi-square of counts that ought to be equal, in deviations of what chance makes of it.
double unevenness(const std::vector<size_t>& counts) {
  double total = 0, chi_square = 0;
  for (const size_t count : counts) total += static_cast<double>(count);
  const double expected = total / static_cast<double>(counts.size());
  for (const size_t count : counts) {
    const double difference = static_cast<double>(count) - expected;
    chi_square += difference * difference / expected;
  }
  const auto freedom = static_cast<double>(counts.size() - 1);
  return (chi_square - freedom) / std::sqrt(2 * freedom);
}

TEST(PeerGroup, GivesEachMemberItsShareOfFlows) {
  for (const size_t count : {size_t{2}, size_t{4}, size_t{7}, PeerGroup::kMaxMembers}) {
    const Members members(count);
    std::vector<size_t> shares(count);
    for (const uint64_t flow : flows(100'000)) ++shares[members.choose(flow)];
    EXPECT_LT(unevenness(shares), 4) << count << " members";
  }
}

TEST(PeerGroup, IsEvenUnderEveryKeyAndSeed) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 200; ++i) {
    const Members members(4, random());
    std::vector<size_t> shares(4);
    for (const uint64_t flow : flows(2000, {{random(), random()}})) ++shares[members.choose(flow)];
    ASSERT_LT(unevenness(shares), 9) << "round " << i;
  }
}

TEST(PeerGroup, MovesTheFlowsOfAMemberThatDropsOutAndNoOther) {
  const Members members(5);
  const std::vector<uint64_t> all = flows(50'000);
  std::vector<size_t> before;
  before.reserve(all.size());
  for (const uint64_t flow : all) before.push_back(members.choose(flow));

  members.let_only(0b11011);
  std::vector<size_t> heirs(5);
  for (size_t i = 0; i < all.size(); ++i) {
    const size_t now = members.choose(all[i]);
    if (before[i] == 2)
      ++heirs[now];
    else
      ASSERT_EQ(now, before[i]);
  }
  EXPECT_EQ(heirs[2], 0u);
  heirs.erase(heirs.begin() + 2);
  EXPECT_LT(unevenness(heirs), 4);

  members.let_only(PeerGroup::everybody(5));
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(members.choose(all[i]), before[i]);
}

TEST(PeerGroup, SendsEverythingToTheLastCandidate) {
  const Members members(PeerGroup::kMaxMembers);
  for (const size_t last : {size_t{0}, size_t{31}, size_t{63}}) {
    members.let_only(uint64_t{1} << last);
    for (const uint64_t flow : flows(100)) EXPECT_EQ(members.choose(flow), last);
  }
}

TEST(PeerGroup, HasCandidatesOfItsOwnForEachWorker) {
  Members members(4);
  std::vector<PeerGroup::Member> list;
  for (TestPeer& peer : members.peers) list.push_back({&peer.path, peer.path.id * 7919});
  PeerGroup group(list, 2);
  group.set_candidates(0, 0b0101);
  group.set_candidates(1, 0b1010);
  for (const uint64_t flow : flows(1000)) {
    EXPECT_EQ(group.choose(flow, 0).id % 2, 1u);
    EXPECT_EQ(group.choose(flow, 1).id % 2, 0u);
    EXPECT_EQ(&group.choose(flow, 5), &group.choose(flow, 0)) << "a worker that came later";
  }
}

TEST(PeerGroup, MovesNoFlowWhenItsMembersStandInAnotherOrder) {
  Members members(4);
  std::mt19937_64 random(1);
  std::vector<PeerGroup::Member> reversed;
  for (TestPeer& peer : members.peers) reversed.insert(reversed.begin(), {&peer.path, random()});
  const PeerGroup other(reversed);
  for (const uint64_t flow : flows(1000)) EXPECT_EQ(&other.choose(flow, 0), &members.group->choose(flow, 0));
}

TEST(PeerGroup, LetsAPeerSendFromItsOwnAddressesAndItsGroups) {
  Members members(3), strangers(1);
  PeerPath& member = members.peers.front().path;
  PeerPath& stranger = strangers.peers.front().path;
  EXPECT_TRUE(may_send_from(member, &member));
  EXPECT_TRUE(may_send_from(member, members.group.get()));
  EXPECT_FALSE(may_send_from(member, nullptr));
  EXPECT_FALSE(may_send_from(member, &stranger));
  EXPECT_FALSE(may_send_from(member, &members.peers.back().path));
  EXPECT_FALSE(may_send_from(stranger, members.group.get()));
}

}  // namespace
}  // namespace culvert::pipeline
