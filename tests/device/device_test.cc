#include "src/device/device.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "io/udp_message.h"
#include "src/protocol/cookie.h"
#include "src/protocol/messages.h"
#include "tests/device/crowd.h"
#include "tests/device/device_nodes.h"

namespace culvert::device {
namespace {

using pipeline::test::endpoint;
using pipeline::test::eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Bytes;
using test::InnerPacket;
using test::Node;
using test::now;
using test::PacketSpec;
using test::private_key;
using test::public_key;

class DeviceTest : public testing::Test {
 protected:
  DeviceTest() { test::clock_ns = std::chrono::nanoseconds(std::chrono::hours(1)).count(); }

  static void advance_clock(protocol::Duration by) { test::clock_ns += by.count(); }

  // Turns of both devices until `condition` holds.
  template <typename Condition>
  [[nodiscard]] bool pump(Condition&& condition) {
    return eventually([&] {
      a_.turn();
      b_.turn();
      return condition();
    });
  }

  void introduce() {
    b_.add_peer(public_key(a_.key), {});
    a_.add_peer(public_key(b_.key), b_.at());
  }

  InnerPacket next_packet() {
    PacketSpec spec;
    spec.sequence = ++sequence_;
    return pipeline::test::superpacket(spec);
  }

  // One packet from `from` arrives at `to`.
  void transfer(Node& from, Node& to) {
    const InnerPacket packet = next_packet();
    (void)to.inner.take_packets();
    const size_t before = to.inner.written();
    from.inner.push(packet);
    ASSERT_TRUE(pump([&] { return to.inner.written() > before; }));
    EXPECT_EQ(to.inner.take_packets(), std::vector<Bytes>{packet.bytes});
  }

  // A session with `a_` as initiator on which nobody waits for anything.
  void begin_quiet_session() {
    introduce();
    transfer(a_, b_);
    transfer(b_, a_);
    settle();
  }
  // After data from `b_` to `a_`: its passive keepalive is sent and received.
  void settle() {
    advance_clock(protocol::kKeepaliveTimeout);
    const uint64_t before = b_.worker("keepalives_received_total");
    ASSERT_TRUE(pump([&] { return b_.worker("keepalives_received_total") == before + 1; }));
    a_.turn();
    b_.turn();
  }

  // Moves the clock from deadline to deadline of `node`, for so long.
  void run_timers(Node& node, protocol::Duration duration) {
    const protocol::Instant end = now() + duration;
    for (int i = 0; i < 1000; ++i) {
      const auto deadline = node.device->next_deadline();
      if (!deadline || *deadline > end) break;
      if (*deadline > now()) advance_clock(*deadline - now());
      node.turn();
    }
    advance_clock(end - now());
    node.turn();
  }

  PeerState peer_of(const Node& node) { return std::move(node.device->state().peers.at(0)); }
  uint64_t last_handshake(const Node& node) { return peer_of(node).last_handshake_seconds; }

  Node a_{1}, b_{2};
  uint32_t sequence_ = 0;
};

TEST_F(DeviceTest, ShakesHandsAndCarriesTrafficBothWays) {
  introduce();
  EXPECT_EQ(last_handshake(a_), 0u);
  transfer(a_, b_);
  transfer(b_, a_);
  for (const Node* const node : {&a_, &b_}) EXPECT_NE(last_handshake(*node), 0u);
  EXPECT_EQ(a_.handshakes("initiation_sent"), 1u);
  EXPECT_EQ(b_.handshakes("initiation_received"), 1u);
  EXPECT_EQ(b_.handshakes("response_sent"), 1u);
  EXPECT_EQ(a_.handshakes("response_received"), 1u);
  EXPECT_EQ(peer_of(b_).endpoint->port, a_.port()) << "learned from the handshake";
  EXPECT_EQ(peer_of(a_).sent_bytes, peer_of(b_).received_bytes);
  EXPECT_EQ(peer_of(b_).sent_bytes, peer_of(a_).received_bytes);
}

TEST_F(DeviceTest, IsWithTheRivalThatAnswersFirst) {
  introduce();
  const auto nobody = pipeline::test::endpoint("127.0.0.1:9");
  a_.device->begin_turn(now(), test::wall_now());
  a_.device->try_endpoint(public_key(b_.key), nobody, b_.at());
  EXPECT_EQ(peer_of(a_).endpoint, nobody);
  transfer(a_, b_);
  EXPECT_EQ(peer_of(a_).endpoint->port, b_.port());
  EXPECT_EQ(a_.handshakes("initiation_sent"), 1u) << "the first attempt";
  EXPECT_EQ(a_.device->initiations(), 1u);
}

TEST_F(DeviceTest, TakesTheSecondOfTwoRivalInitiationsForAReplay) {
  introduce();
  a_.device->begin_turn(now(), test::wall_now());
  a_.device->try_endpoint(public_key(b_.key), b_.at(), b_.at());
  transfer(a_, b_);
  ASSERT_TRUE(pump([&] { return b_.handshakes("rejected") == 1; }));
  EXPECT_EQ(b_.handshakes("response_sent"), 1u);
  advance_clock(seconds(121));
  transfer(a_, b_);
  ASSERT_TRUE(pump([&] { return b_.handshakes("initiation_received") == 2; }));
  transfer(b_, a_);
  EXPECT_EQ(b_.handshakes("rejected"), 1u) << "the race is over";
}

TEST_F(DeviceTest, ShakesHandsWithAPresharedKeyThatBothHave) {
  introduce();
  EXPECT_EQ(a_.device->set_preshared_key(public_key(b_.key), private_key(77)), 0);
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return a_.handshakes("rejected") == 1; })) << "only one has it";
  EXPECT_EQ(b_.device->set_preshared_key(public_key(a_.key), private_key(77)), 0);
  advance_clock(seconds(6));
  ASSERT_TRUE(pump([&] { return b_.inner.written() == 1; })) << "the staged packet";
}

TEST_F(DeviceTest, InitiatorRekeysAfter120Seconds) {
  begin_quiet_session();
  const uint64_t first = last_handshake(a_);
  advance_clock(protocol::kRekeyAfterTime - protocol::kKeepaliveTimeout - milliseconds(1));
  transfer(a_, b_);
  EXPECT_EQ(a_.handshakes("initiation_sent"), 1u);
  advance_clock(milliseconds(1));
  transfer(b_, a_);
  b_.turn();
  EXPECT_EQ(b_.handshakes("initiation_sent"), 0u) << "not the responder";
  transfer(a_, b_);
  ASSERT_TRUE(pump([&] { return last_handshake(a_) > first && last_handshake(b_) > first; }));
  EXPECT_EQ(a_.handshakes("initiation_sent"), 2u);
  transfer(b_, a_);
}

TEST_F(DeviceTest, SendsNothingOnAKeypairOf180Seconds) {
  begin_quiet_session();
  advance_clock(protocol::kRejectAfterTime);
  const uint64_t staged = b_.worker("packets_staged_total");
  transfer(b_, a_);
  EXPECT_EQ(b_.worker("packets_staged_total"), staged + 1);
  EXPECT_EQ(b_.handshakes("initiation_sent"), 1u);
}

TEST_F(DeviceTest, ForgetsAllKeysAfter540Seconds) {
  begin_quiet_session();
  const auto wipe = a_.device->next_deadline();
  ASSERT_TRUE(wipe.has_value());
  run_timers(a_, protocol::kKeyWipeTime);
  EXPECT_FALSE(a_.device->next_deadline()) << "nothing is left to do";
  EXPECT_EQ(a_.handshakes("initiation_sent"), 1u);
  transfer(a_, b_);
}

TEST_F(DeviceTest, AnswersDataWithAKeepaliveAfterTenSeconds) {
  introduce();
  transfer(a_, b_);
  advance_clock(protocol::kKeepaliveTimeout - milliseconds(1));
  b_.turn();
  EXPECT_EQ(b_.metric("keepalives_sent_total"), 0u);
  advance_clock(milliseconds(1));
  ASSERT_TRUE(pump([&] { return a_.worker("keepalives_received_total") == 1; }));
  EXPECT_EQ(b_.metric("keepalives_sent_total"), 1u);
}

TEST_F(DeviceTest, SendsPersistentKeepalivesInTime) {
  b_.add_peer(public_key(a_.key), {});
  a_.add_peer(public_key(b_.key), b_.at(), 25);
  ASSERT_TRUE(pump([&] { return b_.worker("keepalives_received_total") == 1; })) << "at once";
  for (uint64_t n = 2; n < 6; ++n) {
    advance_clock(seconds(24));
    a_.turn();
    EXPECT_EQ(a_.metric("keepalives_sent_total"), n - 1);
    advance_clock(seconds(1));
    ASSERT_TRUE(pump([&] { return b_.worker("keepalives_received_total") == n; }));
  }
}

TEST_F(DeviceTest, AsksForANewHandshakeWhenDataIsNotAnswered) {
  begin_quiet_session();
  ASSERT_TRUE(b_.device->set_link_up(false));
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return a_.inner.all_read() && a_.device->next_deadline() < now() + seconds(16); }));
  advance_clock(protocol::kNewHandshakeTime + protocol::kRekeyTimeoutJitterMax);
  a_.turn();
  // The first look draws the jitter, the second one acts.
  advance_clock(protocol::kRekeyTimeoutJitterMax);
  a_.turn();
  EXPECT_EQ(a_.handshakes("initiation_sent") + a_.handshakes("send_failed"), 2u);
}

TEST_F(DeviceTest, GivesUpOnAPeerThatNeverAnswers) {
  auto silent = io::UdpSockets::open({});
  ASSERT_TRUE(silent);
  a_.add_peer(public_key(9), endpoint("127.0.0.1:" + std::to_string((*silent)->port())));
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return a_.handshakes("initiation_sent") == 1; }));
  run_timers(a_, protocol::kRekeyAttemptTime - protocol::kRekeyTimeout);
  EXPECT_EQ(a_.drops("handshake_failed"), 0u);
  run_timers(a_, seconds(30));
  EXPECT_EQ(a_.drops("handshake_failed"), 1u);
  EXPECT_EQ(a_.handshakes("initiation_sent"), protocol::kMaxTimerHandshakes + 2);
  run_timers(a_, std::chrono::hours(1));
  EXPECT_EQ(a_.handshakes("initiation_sent"), protocol::kMaxTimerHandshakes + 2);
  EXPECT_FALSE(a_.device->next_deadline());
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return a_.handshakes("initiation_sent") == protocol::kMaxTimerHandshakes + 3; }));
}

// One datagram, past any worker.
void send_raw(const io::UdpSockets& from, std::span<const uint8_t> bytes, const io::Endpoint& to) {
  io::SocketAddress address{};
  const socklen_t length = io::to_socket_address(to.remote, to.port, to.scope_id, address);
  EXPECT_EQ(::sendto(from.fd(to.remote.family), bytes.data(), bytes.size(), 0, &address.any, length),
            static_cast<ssize_t>(bytes.size()));
}

// Handshakes of strangers with the right mac1, more than an eighth of the queue.
void put_under_load(Node& node, const io::UdpSockets& stranger) {
  protocol::HandshakeInitiation initiation{};
  initiation.type = static_cast<uint32_t>(protocol::MessageType::handshake_initiation);
  initiation.macs.mac1 = protocol::Mac1Key({public_key(node.key)}).compute(protocol::wire_bytes(initiation));
  const uint64_t before = node.metric("datagrams_received_total");
  for (int i = 0; i < 600; ++i) send_raw(stranger, protocol::wire_bytes(initiation), node.at());
  ASSERT_TRUE(eventually([&] { return node.metric("datagrams_received_total") >= before + 600; }));
  // The worker counts them a little earlier than it has passed them on: the load is seen in a later turn then.
  ASSERT_TRUE(eventually([&] {
    node.turn();
    return node.handshakes("cookie_reply_sent") > 0 || node.handshakes("rejected") > 500;
  }));
}

TEST_F(DeviceTest, AsksForACookieUnderLoadAndThenGetsOne) {
  auto stranger = io::UdpSockets::open({});
  ASSERT_TRUE(stranger);
  introduce();
  put_under_load(b_, **stranger);
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return a_.handshakes("cookie_reply_received") == 1; }));
  EXPECT_EQ(b_.handshakes("initiation_received"), 0u);
  advance_clock(protocol::kRekeyTimeout + protocol::kRekeyTimeoutJitterMax);
  put_under_load(b_, **stranger);
  ASSERT_TRUE(pump([&] { return b_.inner.written() == 1; }));
  EXPECT_EQ(a_.handshakes("initiation_sent"), 2u);
  EXPECT_EQ(b_.handshakes("initiation_received"), 1u);
  EXPECT_EQ(a_.handshakes("cookie_reply_received"), 1u) << "mac2 was right";
}

// The clock stands still: whoever is not answered at once is never asked again.
TEST_F(DeviceTest, ShakesHandsWithTenThousandPeersWhenTheLinkComesUp) {
  constexpr size_t kPeers = 10'000;
  ASSERT_TRUE(a_.device->set_link_up(false));
  test::Crowd crowd(kPeers, protocol::PublicKey{public_key(a_.key)});
  test::introduce_crowd(a_, crowd);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(a_.device->set_link_up(true));
  for (size_t done = 1000; done <= kPeers; done += 1000)  // as long as it takes, but on and on
    ASSERT_TRUE(eventually([&] {
      a_.turn();
      crowd.answer(now());
      return a_.handshakes("response_received") >= done;
    })) << a_.handshakes("response_received");
  RecordProperty("milliseconds", static_cast<int>((std::chrono::steady_clock::now() - start) / milliseconds(1)));
  EXPECT_EQ(a_.handshakes("initiation_sent"), kPeers) << "one each";
  EXPECT_EQ(a_.handshakes("cookie_reply_sent"), 0u) << "to those that it called itself";
  EXPECT_EQ(a_.drops("handshake_queue_full"), 0u);
}

TEST_F(DeviceTest, MakesFewInitiationsInATurnAndSaysThatMoreAreDue) {
  test::Crowd crowd(1000, protocol::PublicKey{public_key(a_.key)});
  test::introduce_crowd(a_, crowd);
  EXPECT_EQ(a_.handshakes("initiation_sent"), 0u) << "not in the middle of an operation";
  uint64_t before = 0;
  while (before < crowd.size()) {
    ASSERT_TRUE(a_.device->next_deadline().has_value());
    EXPECT_LE(*a_.device->next_deadline(), now());
    a_.device->begin_turn(now(), test::wall_now());
    a_.device->advance_timers();
    const uint64_t made = a_.handshakes("initiation_sent") - before;
    ASSERT_GT(made, 0u);
    EXPECT_LE(made, 100u);
    before += made;
  }
  EXPECT_GT(*a_.device->next_deadline(), now());
}

TEST_F(DeviceTest, TakesWhatCameInDuringAnOperationForNoLoad) {
  auto stranger = io::UdpSockets::open({});
  ASSERT_TRUE(stranger);
  protocol::HandshakeInitiation initiation{};
  initiation.type = static_cast<uint32_t>(protocol::MessageType::handshake_initiation);
  initiation.macs.mac1 = protocol::Mac1Key({public_key(b_.key)}).compute(protocol::wire_bytes(initiation));
  const uint64_t before = b_.metric("datagrams_received_total");
  for (int i = 0; i < 800; ++i) send_raw(**stranger, protocol::wire_bytes(initiation), b_.at());
  ASSERT_TRUE(eventually([&] { return b_.metric("datagrams_received_total") >= before + 800; }));
  b_.device->end_of_operation();
  ASSERT_TRUE(eventually([&] {
    b_.turn();
    return b_.handshakes("rejected") + b_.handshakes("cookie_reply_sent") == 800;
  }));
  EXPECT_EQ(b_.handshakes("cookie_reply_sent"), 0u);
}

TEST_F(DeviceTest, AnswersNoPeerThatIsNotSetUpYet) {
  a_.add_peer(public_key(b_.key), b_.at());
  PeerOrigin origin{};
  ASSERT_EQ(b_.device->select_peer(public_key(a_.key), origin), 0);  // and its other lines never come
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return b_.handshakes("rejected") == 1; }));
  EXPECT_EQ(b_.handshakes("response_sent"), 0u);
  EXPECT_EQ(last_handshake(b_), 0u);
  b_.device->add_allowed_ip(public_key(a_.key), test::prefix("10.0.0.0/16"));
  b_.device->finish_peer(public_key(a_.key));
  advance_clock(protocol::kRekeyTimeout + protocol::kRekeyTimeoutJitterMax);
  ASSERT_TRUE(pump([&] { return b_.inner.written() == 1; }));
}

TEST_F(DeviceTest, RemovesAndAddsPeersUnderTraffic) {
  begin_quiet_session();
  const InnerPacket packet = next_packet();
  a_.inner.read_endlessly(packet);
  b_.inner.read_endlessly(packet);
  for (int i = 0; i < 16; ++i) {
    Node& node = i % 2 == 0 ? a_ : b_;
    Node& other = i % 2 == 0 ? b_ : a_;
    EXPECT_EQ(node.device->remove_peer(public_key(other.key)), 0);
    if (i % 4 < 2) node.turn();
    node.add_peer(public_key(other.key), other.at());
    const size_t before = a_.inner.written() + b_.inner.written();
    ASSERT_TRUE(pump([&] {
      advance_clock(milliseconds(50));  // no handshake may look like a flood, and some are tried again
      return a_.inner.written() + b_.inner.written() > before;
    })) << i;
  }
  a_.inner.read_endlessly({});
  b_.inner.read_endlessly({});
}

TEST_F(DeviceTest, FollowsAChangeOfThePrivateKey) {
  begin_quiet_session();
  EXPECT_EQ(a_.device->set_private_key(private_key(3)), 0);
  EXPECT_EQ(b_.device->remove_peer(public_key(a_.key)), 0);
  b_.add_peer(public_key(3), {});
  transfer(a_, b_);
  EXPECT_EQ(a_.handshakes("initiation_sent"), 2u);
  EXPECT_EQ(a_.device->set_private_key(private_key(3)), 0);
  transfer(b_, a_);
  EXPECT_EQ(a_.handshakes("initiation_sent"), 2u) << "the same key changes nothing";
}

TEST_F(DeviceTest, IsItsOwnPeerUnderNoKey) {
  introduce();
  EXPECT_EQ(a_.device->set_private_key(private_key(b_.key)), 0);
  EXPECT_TRUE(a_.device->state().peers.empty());
  PeerOrigin origin{};
  EXPECT_EQ(a_.device->select_peer(public_key(b_.key), origin), 0);
  EXPECT_EQ(origin, PeerOrigin::own_key);
}

TEST_F(DeviceTest, TakesNoHandshakesWithoutAPrivateKey) {
  introduce();
  EXPECT_EQ(b_.device->set_private_key(SecretKey{}), 0);
  b_.turn();
  a_.inner.push(next_packet());
  ASSERT_TRUE(pump([&] { return b_.drops("invalid_mac1") == 1; }));
}

TEST_F(DeviceTest, MovesToAnotherPortAndThePeerFollows) {
  begin_quiet_session();
  const uint16_t before = a_.port();
  auto taken = io::UdpSockets::open({});
  ASSERT_TRUE(taken);
  EXPECT_EQ(a_.device->set_listen_port((*taken)->port()), EADDRINUSE);
  EXPECT_EQ(a_.port(), before);
  transfer(a_, b_);
  EXPECT_EQ(a_.device->set_listen_port(0), 0);
  EXPECT_NE(a_.port(), before);
  transfer(a_, b_);
  EXPECT_EQ(peer_of(b_).endpoint->port, a_.port());
  transfer(b_, a_);
  io::UdpOptions old;
  old.port = before;
  EXPECT_TRUE(io::UdpSockets::open(old)) << "the old port is free";
}

// As netlink reports them: addresses and links of others, a carrier that comes up a second late.
TEST_F(DeviceTest, AnswersFromTheAddressThatWasCalledWhateverElseChanges) {
  const io::Endpoint called = endpoint("127.0.0.7:" + std::to_string(b_.port()));
  b_.add_peer(public_key(a_.key), {});
  a_.add_peer(public_key(b_.key), called);
  transfer(a_, b_);
  for (int change = 0; change < 2; ++change) {
    b_.device->recheck_sources();
    advance_clock(seconds(1));
    b_.turn();
    transfer(b_, a_);
    EXPECT_TRUE(peer_of(a_).endpoint->same_remote(called)) << io::to_string(*peer_of(a_).endpoint);
  }
}

TEST_F(DeviceTest, ChecksManySourcesBySlicesAndAStormOfChangesOnce) {
  test::Crowd crowd(2000, protocol::PublicKey{public_key(a_.key)});
  test::introduce_crowd(a_, crowd);
  ASSERT_TRUE(eventually([&] {
    a_.turn();
    crowd.answer(now());
    return a_.handshakes("response_received") == crowd.size();
  }));
  a_.turn();
  ASSERT_GT(*a_.device->next_deadline(), now()) << "all is quiet";
  const auto turns_until_quiet = [&] {
    int turns = 0;
    for (; *a_.device->next_deadline() <= now(); ++turns) a_.turn();
    return turns;
  };
  a_.device->recheck_sources();
  a_.turn();
  EXPECT_LE(*a_.device->next_deadline(), now()) << "one turn is not enough for 2000";
  for (int change = 0; change < 100; ++change) a_.device->recheck_sources();
  EXPECT_LE(turns_until_quiet(), 30) << "the first walk";
  const auto next = a_.device->next_deadline();
  EXPECT_LE(*next, now() + seconds(1));
  advance_clock(*next - now());
  EXPECT_LE(turns_until_quiet(), 30) << "and one more for all the others";
  EXPECT_GT(*a_.device->next_deadline(), now() + seconds(1));
}

TEST_F(DeviceTest, AnswersFromAnotherAddressOnceTheEndpointIsSetAgain) {
  const io::Endpoint called = endpoint("127.0.0.7:" + std::to_string(b_.port()));
  b_.add_peer(public_key(a_.key), {});
  a_.add_peer(public_key(b_.key), called);
  transfer(a_, b_);
  transfer(b_, a_);
  ASSERT_TRUE(peer_of(a_).endpoint->same_remote(called));
  EXPECT_EQ(b_.device->set_endpoint(public_key(a_.key), a_.at()), 0);
  transfer(b_, a_);
  EXPECT_TRUE(peer_of(a_).endpoint->same_remote(b_.at())) << io::to_string(*peer_of(a_).endpoint);
}

TEST_F(DeviceTest, GoesDownAndUpAgainOnItsPort) {
  begin_quiet_session();
  const uint16_t port = a_.port();
  ASSERT_TRUE(a_.device->set_link_up(false));
  EXPECT_FALSE(a_.device->next_deadline());
  EXPECT_EQ(a_.metric("link_up"), 0u);
  io::UdpOptions same;
  same.port = port;
  { EXPECT_TRUE(io::UdpSockets::open(same)) << "the sockets are closed"; }
  a_.turn();
  ASSERT_TRUE(a_.device->set_link_up(true));
  EXPECT_EQ(a_.port(), port);
  transfer(a_, b_);
  EXPECT_EQ(a_.handshakes("initiation_sent"), 2u) << "keys were forgotten";
}

TEST_F(DeviceTest, CountsOnWhenItsSocketsAreOpenedAnew) {
  begin_quiet_session();
  const uint64_t sent = a_.metric("datagrams_sent_total"), received = a_.metric("datagrams_received_total");
  EXPECT_GT(sent, 0u);
  EXPECT_GT(received, 0u);
  ASSERT_TRUE(a_.device->set_link_up(false));
  EXPECT_GE(a_.metric("datagrams_sent_total"), sent);
  EXPECT_GE(a_.metric("datagrams_received_total"), received);
  ASSERT_TRUE(a_.device->set_link_up(true));
  transfer(a_, b_);
  EXPECT_GT(a_.metric("datagrams_sent_total"), sent);
  EXPECT_GT(a_.metric("datagrams_received_total"), received);
}

TEST_F(DeviceTest, RefusesAPortThatIsTakenAlsoWhileTheLinkIsDown) {
  auto taken = io::UdpSockets::open({});
  ASSERT_TRUE(taken);
  ASSERT_TRUE(a_.device->set_link_up(false));
  const uint16_t before = a_.port();
  EXPECT_EQ(a_.device->set_listen_port((*taken)->port()), EADDRINUSE);
  EXPECT_EQ(a_.port(), before) << "an error changes nothing";
  const uint16_t port = (*taken)->port();
  taken->reset();
  EXPECT_EQ(a_.device->set_listen_port(port), 0);
  EXPECT_EQ(a_.port(), port);
}

// Somebody took the port between its configuration and link up.
class TakenPortTest : public DeviceTest {
 protected:
  void SetUp() override {
    introduce();
    port_ = a_.port();
    ASSERT_TRUE(a_.device->set_link_up(false));
    io::UdpOptions same;
    same.port = port_;
    auto taken = io::UdpSockets::open(same);
    ASSERT_TRUE(taken);
    taken_ = std::move(*taken);
    a_.device->begin_turn(now(), test::wall_now());
    const io::Status up = a_.device->set_link_up(true);
    ASSERT_FALSE(up);
    EXPECT_EQ(up.error().number, EADDRINUSE);
    EXPECT_NE(up.error().text().find(std::to_string(port_)), std::string::npos) << up.error().text();
  }

  uint16_t port_ = 0;
  std::unique_ptr<io::UdpSockets> taken_;
};

TEST_F(TakenPortTest, ComesUpByItselfOnceThePortIsFree) {
  for (int attempt = 0; attempt < 6; ++attempt) {
    EXPECT_EQ(a_.metric("link_up"), 0u);
    EXPECT_EQ(a_.port(), 0u) << "what is not bound is not shown";
    const auto next = a_.device->next_deadline();
    ASSERT_TRUE(next.has_value());
    EXPECT_GT(*next, now());
    EXPECT_LE(*next, now() + seconds(10));
    advance_clock(*next - now());
    a_.turn();
  }
  taken_.reset();
  run_timers(a_, seconds(10));
  EXPECT_EQ(a_.metric("link_up"), 1u);
  EXPECT_EQ(a_.port(), port_);
  transfer(a_, b_);
}

TEST_F(TakenPortTest, TakesAnotherPortAtOnceButNoneThatIsTakenToo) {
  EXPECT_EQ(a_.device->set_listen_port(port_), EADDRINUSE);
  auto other = io::UdpSockets::open({});
  ASSERT_TRUE(other);
  EXPECT_EQ(a_.device->set_listen_port((*other)->port()), EADDRINUSE);
  EXPECT_EQ(a_.metric("link_up"), 0u);
  EXPECT_EQ(a_.device->set_listen_port(0), 0);
  EXPECT_EQ(a_.metric("link_up"), 1u);
  EXPECT_NE(a_.port(), 0u);
  transfer(a_, b_);
}

TEST_F(TakenPortTest, TriesNoMoreWhenTheLinkGoesDown) {
  ASSERT_TRUE(a_.device->set_link_up(false));
  EXPECT_FALSE(a_.device->next_deadline());
  EXPECT_EQ(a_.port(), port_) << "what it will be bound to";
}

TEST_F(DeviceTest, DropsWhatIsStagedWhenItGoesDownUnderTraffic) {
  auto silent = io::UdpSockets::open({});
  ASSERT_TRUE(silent);
  a_.add_peer(public_key(9), endpoint("127.0.0.1:" + std::to_string((*silent)->port())));
  for (int i = 0; i < 20; ++i) {
    const uint64_t before = a_.worker("packets_staged_total");
    a_.inner.read_endlessly(next_packet());
    ASSERT_TRUE(pump([&] { return a_.worker("packets_staged_total") > before + 200; }));
    ASSERT_TRUE(a_.device->set_link_up(false));
    const uint64_t dropped = a_.drops("handshake_failed");
    EXPECT_GT(dropped, 0u);
    a_.inner.read_endlessly({});
    ASSERT_TRUE(a_.device->set_link_up(true));
    ASSERT_TRUE(a_.device->set_link_up(false));
    EXPECT_EQ(a_.drops("handshake_failed"), dropped) << "something had stayed";
    ASSERT_TRUE(a_.device->set_link_up(true));
  }
}

Key numbered_key(uint32_t n) {
  Key key{};
  key[0] = 9;
  key[1] = static_cast<uint8_t>(n);
  key[2] = static_cast<uint8_t>(n >> 8);
  return key;
}

// In memory and time by the square of the peers this would take gigabytes and minutes.
TEST_F(DeviceTest, ReplacesTenThousandPeersInOneOperation) {
  constexpr uint32_t kPeers = 10'000;
  const auto start = std::chrono::steady_clock::now();
  for (int turn = 0; turn < 2; ++turn) {
    a_.device->begin_turn(now(), test::wall_now());
    EXPECT_EQ(a_.device->remove_all_peers(), 0);
    for (uint32_t i = 0; i < kPeers; ++i) {
      const Key key = numbered_key(i);
      PeerOrigin origin{};
      ASSERT_EQ(a_.device->select_peer(key, origin), 0);
      ASSERT_EQ(origin, PeerOrigin::created);
      a_.device->set_endpoint(key, endpoint("127.0.0.1:9"));
      a_.device->add_allowed_ip(
          key, {{10, 1, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}, protocol::IpVersion::v4, 32});
      a_.device->finish_peer(key);
    }
    a_.device->end_of_operation();
    EXPECT_EQ(a_.device->state().peers.size(), kPeers);
  }
  ASSERT_TRUE(a_.device->set_link_up(false));
  ASSERT_TRUE(a_.device->set_link_up(true));
  const auto elapsed = std::chrono::steady_clock::now() - start;
  RecordProperty("milliseconds", static_cast<int>(elapsed / milliseconds(1)));
  EXPECT_LT(elapsed, seconds(60));
}

TEST_F(DeviceTest, KeepsAHundredAndThirtyThousandAllowedIps) {
  introduce();
  const Key peer = public_key(b_.key);
  EXPECT_EQ(a_.device->clear_allowed_ips(peer), 0);
  std::vector<Prefix> expected;
  for (uint32_t i = 0; i < 130'560; ++i) {
    Prefix one{{10, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)},
               protocol::IpVersion::v4,
               32};
    EXPECT_EQ(a_.device->add_allowed_ip(peer, one), 0);
    expected.push_back(one);
  }
  a_.device->finish_peer(peer);
  a_.device->end_of_operation();
  EXPECT_TRUE(peer_of(a_).allowed_ips == expected);
  transfer(a_, b_);
}

TEST_F(DeviceTest, ForgetsNoEndpointAndNoPeerOfTheOthersWhenOneIsRemoved) {
  introduce();
  a_.add_peer(public_key(9), endpoint("127.0.0.1:9"));
  EXPECT_EQ(a_.device->remove_peer(public_key(9)), 0);
  a_.turn();
  ASSERT_EQ(a_.device->state().peers.size(), 1u);
  EXPECT_EQ(peer_of(a_).endpoint, b_.at());
  EXPECT_TRUE(peer_of(a_).allowed_ips.empty()) << "they were the other's by then";
}

TEST_F(DeviceTest, NamesEveryDropReasonInItsMetrics) {
  for (const std::string_view reason : pipeline::kDropReasonNames)
    EXPECT_EQ(a_.drops(std::string(reason)), 0u) << reason;
}

TEST_F(DeviceTest, EscapesItsNameInTheMetrics) {
  const Node odd(3, "a\"b\\c");
  EXPECT_NE(daemon::metrics_text(odd.device->metrics()).find("culvert_peers{device=\"a\\\"b\\\\c\"} 0\n"),
            std::string::npos);
}

TEST_F(DeviceTest, SeesThatItsInnerSideIsGone) {
  EXPECT_FALSE(a_.device->inner_gone());
  a_.inner.remove_device();
  EXPECT_TRUE(pump([&] { return a_.device->inner_gone(); }));
}

}  // namespace
}  // namespace culvert::device
