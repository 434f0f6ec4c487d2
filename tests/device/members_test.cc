// A device with a group, and the devices at its far ends.
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>

#include "io/udp_sockets.h"
#include "src/protocol/messages.h"
#include "src/uapi/grammar.h"
#include "tests/device/device_nodes.h"

namespace culvert::device {
namespace {

using pipeline::test::eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Bytes;
using test::Node;
using test::now;
using test::public_key;

constexpr uint16_t kFlows = 24;

// Where nobody answers. It counts the initiations that it gets.
class Hole {
 public:
  io::Endpoint at() const { return pipeline::test::endpoint("127.0.0.1:" + std::to_string((*sockets_)->port())); }
  uint64_t initiations() {
    for (;;) {
      std::array<uint8_t, 2048> bytes;
      const ssize_t length = ::recv((*sockets_)->fd(io::Family::v4), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (length < 0) return initiations_;
      initiations_ += length == sizeof(protocol::HandshakeInitiation) ? 1 : 0;
    }
  }

 private:
  io::Result<std::unique_ptr<io::UdpSockets>> sockets_ = io::UdpSockets::open({});
  uint64_t initiations_ = 0;
};

class MembersTest : public testing::Test {
 protected:
  MembersTest() {
    test::clock_ns = std::chrono::nanoseconds(std::chrono::hours(1)).count();
    for (uint8_t n = 0; n < 3; ++n) {
      Node& far = *fars_.emplace_back(std::make_unique<Node>(static_cast<uint8_t>(n + 2)));
      far.add_peer(public_key(hub_.key), {});
    }
  }

  // Makes the far end a peer of the hub's, in the group; `at` is where it is called.
  void join(size_t n, const io::Endpoint& at, const std::string& group = "far") {
    const Key key = public_key(fars_[n]->key);
    PeerOrigin origin{};
    hub_.device->begin_turn(now(), test::wall_now());
    EXPECT_EQ(hub_.device->select_peer(key, origin), 0);
    EXPECT_EQ(hub_.device->set_group(key, group), 0);
    EXPECT_EQ(hub_.device->set_endpoint(key, at), 0);
    for (const char* const allowed : {"10.0.0.0/16", "fd00::/16"})
      EXPECT_EQ(hub_.device->add_allowed_ip(key, test::prefix(allowed)), 0);
    hub_.device->finish_peer(key);
    hub_.device->end_of_operation();
  }
  void join_all() {
    for (size_t n = 0; n < fars_.size(); ++n) join(n, fars_[n]->at());
  }
  // From now on the hub calls it there.
  void move(size_t n, const io::Endpoint& at) {
    hub_.device->begin_turn(now(), test::wall_now());
    EXPECT_EQ(hub_.device->set_endpoint(public_key(fars_[n]->key), at), 0);
    hub_.device->finish_peer(public_key(fars_[n]->key));
    hub_.device->end_of_operation();
  }

  static Bytes packet_of(uint16_t flow, uint16_t number) {
    test::PacketSpec spec;
    spec.tcp = false;
    spec.source_port = flow;
    spec.id = number;
    spec.payload_bytes = 100 + number;  // longer than the one before: these are not joined
    return pipeline::test::superpacket(spec).bytes;
  }

  void turn_all() {
    hub_.turn();
    for (const auto& far : fars_) far->turn();
  }
  // Turns of all until each message has arrived somewhere, and each initiation that somebody got is answered.
  void settle() {
    ASSERT_TRUE(eventually([&] {
      turn_all();
      uint64_t initiations = hole_.initiations(), answers = 0;
      for (const auto& far : fars_) {
        initiations += far->handshakes("initiation_received");
        answers += far->handshakes("response_sent");
      }
      return hub_.inner.all_read() && initiations == hub_.handshakes("initiation_sent") &&
             answers == hub_.handshakes("response_received");
    }));
    collect();
  }
  void collect() {
    for (size_t n = 0; n < fars_.size(); ++n)
      for (const Bytes& packet : fars_[n]->inner.take_packets())
        arrived_[packet::test::get16(packet, 20)].push_back({n, packet::test::get16(packet, 4)});
  }

  // One packet of each flow.
  void send_all() {
    ++number_;
    for (uint16_t flow = 0; flow < kFlows; ++flow) hub_.inner.push({packet_of(flow, number_), {}});
  }
  // All flows go on until `condition` holds, at most for `most` of the clock. How long that was.
  template <typename Condition>
  protocol::Duration send_until(protocol::Duration most, Condition&& condition) {
    const protocol::Instant before = now();
    while (now() - before < most && !condition()) {
      send_all();
      settle();
      test::clock_ns += std::chrono::nanoseconds(milliseconds(200)).count();
    }
    return now() - before;
  }
  bool is_alive(size_t n) {
    return hub_.metric("group_member_alive", "group=\"far\",peer=\"" + to_base64(public_key(fars_[n]->key)) + "\"") ==
           1;
  }
  // From now on ways() looks at what is sent from now on.
  void start_afresh() { since_ = number_; }
  // The far ends by which the flow's packets came.
  std::set<size_t> ways(uint16_t flow) {
    std::set<size_t> ways;
    for (const Arrival& arrival : arrived_[flow])
      if (arrival.number > since_) ways.insert(arrival.far);
    return ways;
  }
  // The last packet of every flow has arrived; maybe before others, where the flow has another way now.
  bool all_arrived() {
    collect();
    for (uint16_t flow = 0; flow < kFlows; ++flow)
      if (std::ranges::none_of(arrived_[flow], [&](const Arrival& each) { return each.number == number_; }))
        return false;
    return true;
  }

  // The same after another turn.
  bool deliver_all() {
    turn_all();
    return all_arrived();
  }

  struct Arrival {
    size_t far;
    unsigned number;
  };

  Node hub_{1};
  std::vector<std::unique_ptr<Node>> fars_;
  Hole hole_;
  uint16_t number_ = 0;
  unsigned since_ = 0;
  std::map<unsigned, std::vector<Arrival>> arrived_;  // by flow
};

TEST_F(MembersTest, CarryAFlowEachAndKeepItsOrder) {
  join_all();
  for (int i = 0; i < 10; ++i) {
    send_all();
    settle();
  }
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  std::set<size_t> used;
  for (uint16_t flow = 0; flow < kFlows; ++flow) {
    ASSERT_EQ(ways(flow).size(), 1u);
    ASSERT_EQ(arrived_[flow].size(), 10u);
    used.merge(ways(flow));
    for (uint16_t i = 0; i < 10; ++i) EXPECT_EQ(arrived_[flow][i].number, i + 1u);
  }
  EXPECT_EQ(used.size(), 3u);
}

// Traffic runs one way: what tells a member that is dead from one that is alive is the answer to a handshake.
TEST_F(MembersTest, LoseTheirFlowsWhenTheyFallSilentAndGetThemBack) {
  join_all();
  send_all();
  settle();
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  std::map<uint16_t, std::set<size_t>> before;
  for (uint16_t flow = 0; flow < kFlows; ++flow) before[flow] = ways(flow);
  move(0, hole_.at());
  EXPECT_LE(send_until(seconds(20), [&] { return !is_alive(0); }), protocol::kRekeyTimeout + milliseconds(400));
  start_afresh();
  send_all();
  settle();
  ASSERT_TRUE(eventually([&] { return deliver_all(); })) << "nothing is lost any more";
  for (uint16_t flow = 0; flow < kFlows; ++flow)
    if (before[flow] != std::set<size_t>{0})
      EXPECT_EQ(ways(flow), before[flow]) << "a flow of another member";
    else
      EXPECT_FALSE(ways(flow).contains(0));
  EXPECT_TRUE(is_alive(1) && is_alive(2));

  move(0, fars_[0]->at());
  EXPECT_LE(send_until(seconds(20), [&] { return is_alive(0); }), Liveness::kProbeInterval + seconds(1));
  start_afresh();
  send_all();
  settle();
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  for (uint16_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(ways(flow), before[flow]);
}

TEST_F(MembersTest, StayAliveUnderTrafficThatRunsOneWay) {
  join_all();
  EXPECT_EQ(send_until(
                seconds(30), [&] { return !is_alive(0) || !is_alive(1) || !is_alive(2); }),
            seconds(30));
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  for (uint16_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(arrived_[flow].size(), number_);
}

TEST_F(MembersTest, SendWhatWaitsForOneThatNeverAnswersByAnother) {
  join(0, hole_.at());
  join(1, fars_[1]->at());
  send_all();
  ASSERT_TRUE(eventually([&] {
    turn_all();
    collect();
    return hole_.initiations() == 1 && !arrived_.empty();
  }));
  EXPECT_FALSE(all_arrived());
  test::clock_ns += std::chrono::nanoseconds(Liveness::kGiveUp).count();
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  EXPECT_EQ(hub_.drops("handshake_failed"), 0u);
}

// The far end may answer by a member that none of our flows goes by, and cannot before it was called.
TEST_F(MembersTest, AreAllCalledOnceTheGroupHasTraffic) {
  join_all();
  hub_.inner.push({packet_of(0, ++number_), {}});
  ASSERT_TRUE(eventually([&] {
    turn_all();
    return std::all_of(fars_.begin(), fars_.end(),
                       [](const auto& far) { return far->handshakes("response_sent") == 1; });
  }));
  ASSERT_TRUE(eventually([&] {
    turn_all();
    collect();
    return ways(0).size() == 1;
  }));
  EXPECT_EQ(hub_.handshakes("initiation_sent"), 3u);
}

TEST_F(MembersTest, WaitLikeOnePeerWhileNobodyAnswersAndGoToTheFirstWhoDoes) {
  join(0, hole_.at());
  join(1, hole_.at());
  EXPECT_EQ(send_until(seconds(20), [] { return false; }), seconds(20));
  EXPECT_LE(hub_.handshakes("initiation_sent"), 2u * (20 / 5 + 2)) << "each is asked at the rate of any peer";
  EXPECT_FALSE(is_alive(0) || is_alive(1));

  move(1, fars_[1]->at());
  (void)send_until(
      seconds(20), [&] { return is_alive(1); });
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
}

TEST_F(MembersTest, AreLeftInPeaceWhileTheirGroupIsIdle) {
  join_all();
  send_all();
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  settle();
  const uint64_t initiations = hub_.handshakes("initiation_sent");
  const protocol::Instant end = now() + protocol::kKeyWipeTime + seconds(60);
  int turns = 0;
  for (; hub_.device->next_deadline() && *hub_.device->next_deadline() < end; ++turns) {
    test::clock_ns = std::max(now(), *hub_.device->next_deadline()).time_since_epoch().count();
    settle();
  }
  EXPECT_FALSE(hub_.device->next_deadline());
  EXPECT_LE(hub_.handshakes("initiation_sent"), initiations + 3) << "WireGuard's own, for data without an answer";
  EXPECT_LE(turns, 120);
}

TEST_F(MembersTest, StayMembersWhenTheirPeersAreSetAgainByOneWhoKnowsNoGroups) {
  join_all();
  std::string lines = "replace_peers=true\n";
  const std::string before(uapi::print_get(hub_.device->state()));
  for (size_t at = 0; at < before.size();) {
    const size_t end = before.find('\n', at);
    const std::string line = before.substr(at, end - at);
    at = end + 1;
    const std::string key = line.substr(0, line.find('='));
    if (key == "private_key" || key == "listen_port" || key == "endpoint" || key == "preshared_key" ||
        key == "persistent_keepalive_interval" || key == "allowed_ip")
      lines += line + "\n";
    if (key == "public_key") lines += line + "\nreplace_allowed_ips=true\n";
  }
  const size_t first_peer = lines.find("private_key");
  lines = lines.substr(first_peer);  // the device's lines come first
  const size_t peers = lines.find("public_key");
  lines.insert(peers, "replace_peers=true\n");

  uapi::SetParser parser(*hub_.device);
  for (size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1)
    (void)parser.feed_line(lines.substr(at, lines.find('\n', at) - at));
  parser.finish();
  EXPECT_EQ(parser.error_text(), "");
  EXPECT_EQ(std::string(uapi::print_get(hub_.device->state())), before);
  for (const PeerState& peer : hub_.device->state().peers) EXPECT_EQ(peer.group, "far");
}

TEST_F(MembersTest, GoTheirWaysWhenTheyAreRemovedOrLeave) {
  join_all();
  send_all();
  settle();
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  hub_.device->begin_turn(now(), test::wall_now());
  EXPECT_EQ(hub_.device->remove_peer(public_key(fars_[0]->key)), 0);
  EXPECT_EQ(hub_.device->set_group(public_key(fars_[1]->key), ""), 0);
  hub_.device->end_of_operation();
  start_afresh();
  send_all();
  settle();
  ASSERT_TRUE(eventually([&] { return deliver_all(); }));
  for (uint16_t flow = 0; flow < kFlows; ++flow)
    EXPECT_EQ(ways(flow), std::set<size_t>{2}) << "the member that is left has them";
  hub_.device->begin_turn(now(), test::wall_now());
  EXPECT_EQ(hub_.device->set_group(public_key(fars_[2]->key), ""), 0);
  hub_.device->end_of_operation();
  for (const PeerState& peer : hub_.device->state().peers) EXPECT_EQ(peer.group, "");
}

TEST_F(MembersTest, AreNoMoreThanAGroupTakes) {
  hub_.device->begin_turn(now(), test::wall_now());
  PeerOrigin origin{};
  for (size_t n = 0; n <= kMaxGroupMembers; ++n) {
    Key key{};
    key[0] = static_cast<uint8_t>(n);
    key[1] = 1;
    ASSERT_EQ(hub_.device->select_peer(key, origin), 0);
    EXPECT_EQ(hub_.device->set_group(key, "far"), n < kMaxGroupMembers ? 0 : ENOSPC);
    EXPECT_EQ(hub_.device->set_group(key, "other" + std::to_string(n / 2)), 0);
    if (n < kMaxGroupMembers) EXPECT_EQ(hub_.device->set_group(key, "far"), 0);
  }
  hub_.device->end_of_operation();
}

}  // namespace
}  // namespace culvert::device
