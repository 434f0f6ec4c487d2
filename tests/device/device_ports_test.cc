// Devices with several source ports, in a network namespace where no port is anybody else's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "tests/device/device_nodes.h"
#include "tests/own_namespace.h"

namespace culvert::device {
namespace {

using pipeline::test::eventually;
using std::chrono::seconds;
using test::Bytes;
using test::InnerPacket;
using test::Node;
using test::now;
using test::PacketSpec;
using test::public_key;

class DevicePortsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = culvert::test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_) GTEST_SKIP() << "needs network namespaces: run as root, or allow user namespaces";
    culvert::test::run("ip link set lo up");
    test::clock_ns = std::chrono::nanoseconds(std::chrono::hours(1)).count();
    a_ = std::make_unique<Node>(uint8_t{1});
    b_ = std::make_unique<Node>(uint8_t{2});
  }

  int set_ports(Node& node, const char* ports) {
    const int number = node.device->set_source_ports(io::parse_source_ports(ports).value());
    node.device->end_of_operation();
    return number;
  }

  void introduce() {
    b_->add_peer(public_key(a_->key), {});
    a_->add_peer(public_key(b_->key), b_->at());
  }

  // One packet of this flow arrives.
  void transfer(Node& from, Node& to, uint16_t flow) {
    PacketSpec spec;
    spec.source_port = flow;
    const InnerPacket packet = pipeline::test::superpacket(spec);
    const size_t before = to.inner.written();
    from.inner.push(packet);
    ASSERT_TRUE(eventually([&] {
      a_->turn();
      b_->turn();
      return to.inner.written() > before;
    }));
    (void)to.inner.take_packets();
  }

  // To which ports of its peer `at` answers while so many flows come in.
  std::set<uint16_t> endpoints(Node& from, Node& at, uint16_t flows) {
    std::set<uint16_t> ports;
    for (uint16_t flow = 0; flow < flows; ++flow) {
      transfer(from, at, flow);
      ports.insert(at.device->state().peers.at(0).endpoint->port);
    }
    return ports;
  }

  static inline bool isolated_ = false;
  std::unique_ptr<Node> a_, b_;
};

TEST_F(DevicePortsTest, AnOrdinaryPeerHearsOfEveryPortAndNothingIsLost) {
  ASSERT_EQ(set_ports(*a_, "8"), 0);
  introduce();
  const std::set<uint16_t> heard = endpoints(*a_, *b_, 64);
  EXPECT_EQ(heard.size(), 8u);
  EXPECT_EQ(*heard.begin(), a_->port());
  EXPECT_EQ(*heard.rbegin(), a_->port() + 7) << "neighbours";
  for (uint16_t flow = 0; flow < 16; ++flow) transfer(*b_, *a_, flow);
  uint64_t sent = 0;
  for (const uint16_t port : heard) {
    const uint64_t from_port = a_->metric("port_datagrams_sent_total", "port=\"" + std::to_string(port) + "\"");
    EXPECT_GT(from_port, 0u) << port;
    sent += from_port;
  }
  EXPECT_EQ(sent, a_->metric("datagrams_sent_total"));
  EXPECT_EQ(a_->handshakes("initiation_sent"), 1u);
}

TEST_F(DevicePortsTest, APeerThatIsToldToSpreadKeepsItsEndpoint) {
  ASSERT_EQ(set_ports(*a_, "8"), 0);
  ASSERT_EQ(set_ports(*b_, "8"), 0);
  introduce();
  ASSERT_EQ(b_->device->set_peer_source_ports(public_key(a_->key), 8), 0);
  (void)endpoints(*a_, *b_, 64);
  EXPECT_EQ(endpoints(*a_, *b_, 64).size(), 1u);
  (void)endpoints(*b_, *a_, 64);
  EXPECT_EQ(endpoints(*b_, *a_, 64).size(), 1u);
}

// Its NAT would let in nothing from the others.
TEST_F(DevicePortsTest, APeerThatOnlyCalledIsAnsweredFromOnePortUnlessItIsGivenMore) {
  ASSERT_EQ(set_ports(*b_, "8"), 0);
  introduce();
  transfer(*a_, *b_, 1);
  EXPECT_EQ(endpoints(*b_, *a_, 32), (std::set<uint16_t>{b_->port()}));
  ASSERT_EQ(b_->device->set_peer_source_ports(public_key(a_->key), 8), 0);
  EXPECT_EQ(endpoints(*b_, *a_, 64).size(), 8u);
}

TEST_F(DevicePortsTest, APeerMayHaveFewerPortsThanItsDevice) {
  ASSERT_EQ(set_ports(*a_, "8"), 0);
  introduce();
  ASSERT_EQ(a_->device->set_peer_source_ports(public_key(b_->key), 1), 0);
  EXPECT_EQ(endpoints(*a_, *b_, 32), (std::set<uint16_t>{a_->port()}));
  ASSERT_EQ(a_->device->set_peer_source_ports(public_key(b_->key), 3), 0);
  EXPECT_EQ(endpoints(*a_, *b_, 64).size(), 3u);
  ASSERT_EQ(a_->device->set_peer_source_ports(public_key(b_->key), 0), 0);
  EXPECT_EQ(endpoints(*a_, *b_, 64).size(), 8u);
  EXPECT_EQ(a_->device->state().peers.at(0).source_ports, 0);
}

TEST_F(DevicePortsTest, ATakenPortOfARangeIsNamedAndChangesNothing) {
  const auto taken = io::UdpSockets::open({.port = 40003});
  ASSERT_TRUE(taken);
  introduce();
  transfer(*a_, *b_, 1);
  const uint16_t before = a_->port();
  EXPECT_EQ(set_ports(*a_, "40000-40007"), EADDRINUSE);
  EXPECT_NE(a_->device->port_refusal().find("40003"), std::string::npos) << a_->device->port_refusal();
  EXPECT_EQ(a_->port(), before);
  EXPECT_EQ(a_->device->state().source_ports, io::SourcePorts());
  transfer(*a_, *b_, 1);
  ASSERT_TRUE(a_->device->set_link_up(false));
  EXPECT_EQ(set_ports(*a_, "40000-40007"), EADDRINUSE) << "also while the link is down";
  EXPECT_EQ(set_ports(*a_, "40004-40007"), 0);
  EXPECT_EQ(a_->device->port_refusal(), "");
  test::clock_ns += std::chrono::nanoseconds(seconds(10)).count();  // a handshake is not repeated at once
  a_->turn();
  ASSERT_TRUE(a_->device->set_link_up(true));
  transfer(*a_, *b_, 1);
}

// The ports of the new set are partly those of the old one.
TEST_F(DevicePortsTest, ChangesItsPortsAndItsListenPortUnderTraffic) {
  ASSERT_EQ(a_->device->set_listen_port(40000), 0);
  introduce();
  for (const char* ports : {"4", "8", "40000-40001", "40000-40015", "1", "8"}) {
    ASSERT_EQ(set_ports(*a_, ports), 0) << ports;
    EXPECT_EQ(a_->port(), 40000);
    for (uint16_t flow = 0; flow < 20; ++flow) transfer(*a_, *b_, flow);
    for (uint16_t flow = 0; flow < 20; ++flow) transfer(*b_, *a_, flow);
  }
  for (const uint16_t port : {40004, 40001, 40000}) {
    ASSERT_EQ(a_->device->set_listen_port(port), 0) << port;
    const std::set<uint16_t> heard = endpoints(*a_, *b_, 64);
    EXPECT_EQ(*heard.begin(), port);
    EXPECT_EQ(heard.size(), 8u);
  }
  EXPECT_TRUE(io::UdpSockets::open({.port = 40011})) << "what it left is free";
}

// Two hosts behind one address: each owns its slice, and finds the other's taken where they overlap.
TEST_F(DevicePortsTest, TwoDevicesOwnASliceOfThePortsEach) {
  ASSERT_TRUE(a_->device->set_link_up(false));
  ASSERT_EQ(a_->device->set_listen_port(40000), 0);
  ASSERT_EQ(set_ports(*a_, "40000-40003"), 0);
  ASSERT_TRUE(a_->device->set_link_up(true));
  EXPECT_EQ(set_ports(*b_, "40003-40007"), EADDRINUSE);
  ASSERT_EQ(set_ports(*b_, "40004-40007"), 0);
  ASSERT_EQ(b_->device->set_listen_port(40004), 0);
  introduce();
  const std::set<uint16_t> heard = endpoints(*a_, *b_, 64);
  EXPECT_TRUE(std::all_of(heard.begin(), heard.end(), [](uint16_t port) { return 40000 <= port && port <= 40003; }));
  transfer(*b_, *a_, 1);
}

TEST_F(DevicePortsTest, ComesUpByItselfOnceItsPortsAreFree) {
  ASSERT_TRUE(a_->device->set_link_up(false));
  ASSERT_EQ(a_->device->set_listen_port(40000), 0);
  ASSERT_EQ(set_ports(*a_, "40000-40007"), 0);
  auto taken = io::UdpSockets::open({.port = 40005});
  ASSERT_TRUE(taken);
  a_->device->begin_turn(now(), test::wall_now());
  const io::Status up = a_->device->set_link_up(true);
  ASSERT_FALSE(up);
  EXPECT_NE(up.error().text().find("40005"), std::string::npos) << up.error().text();
  taken->reset();
  test::clock_ns += std::chrono::nanoseconds(seconds(10)).count();
  a_->turn();
  EXPECT_TRUE(a_->device->up());
  introduce();
  transfer(*a_, *b_, 1);
}

TEST_F(DevicePortsTest, MarksThePacketsOfAllPorts) {
  ASSERT_EQ(set_ports(*a_, "4"), 0);
  introduce();
  ASSERT_EQ(a_->device->set_fwmark(77), 0);
  // What is not marked has no route.
  ASSERT_EQ(culvert::test::run("ip rule add not fwmark 77 iif lo to 127.0.0.1 dport " + std::to_string(b_->port()) +
                               " ipproto udp pref 0 unreachable"),
            0);
  for (uint16_t flow = 0; flow < 32; ++flow) transfer(*a_, *b_, flow);
  EXPECT_EQ(culvert::test::run("ip rule del pref 0 unreachable"), 0);
}

}  // namespace
}  // namespace culvert::device
