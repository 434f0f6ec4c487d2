#include "src/pipeline/heard_ports.h"

#include <gtest/gtest.h>

#include "tests/pipeline/peers.h"

namespace culvert::pipeline {
namespace {

using test::endpoint;
using test::TestPeer;

TEST(HeardPorts, KnowsThePortsBetweenThoseItHasHeard) {
  HeardPorts ports;
  EXPECT_FALSE(ports.is_known(5004)) << "nothing was heard";
  EXPECT_TRUE(ports.is_known(5004));
  EXPECT_FALSE(ports.is_known(5001));
  EXPECT_TRUE(ports.is_known(5003));
  EXPECT_FALSE(ports.is_known(5007));
  for (uint16_t port = 5001; port <= 5007; ++port) EXPECT_TRUE(ports.is_known(port)) << port;
  ports.begin(5003);
  EXPECT_FALSE(ports.is_known(5004));
  EXPECT_FALSE(ports.is_known(65535));
  EXPECT_FALSE(ports.is_known(1));
  EXPECT_TRUE(ports.is_known(40000));
}

struct HeardPortsPeer : testing::Test {
  // What the endpoint is after a message from there.
  std::string after(const std::string& from, const std::string& source = "192.0.2.9") {
    io::Endpoint heard = endpoint(from);
    heard.source = test::address(source);
    moved_address = peer.path.roam(heard);
    return io::to_string(peer.path.endpoint.load());
  }
  std::string after_handshake(const std::string& from) {
    io::Endpoint heard = endpoint(from);
    heard.source = test::address("192.0.2.9");
    peer.path.follow_handshake(heard);
    return io::to_string(peer.path.endpoint.load());
  }

  TestPeer peer{1, "192.0.2.1:5000"};
  bool moved_address = false;
};

TEST_F(HeardPortsPeer, AnOrdinaryOneIsAnsweredWhereItWasHeardLast) {
  after_handshake("192.0.2.1:5000");
  for (const char* from : {"192.0.2.1:5003", "192.0.2.1:5000", "192.0.2.1:5003", "198.51.100.1:5000"})
    EXPECT_EQ(after(from), from);
}

TEST_F(HeardPortsPeer, OneThatSpreadsKeepsItsEndpointWhileOnlyThePortMovesWithinItsRange) {
  peer.path.source_ports = 8;
  EXPECT_EQ(after_handshake("192.0.2.1:5000"), "192.0.2.1:5000");
  EXPECT_EQ(after("192.0.2.1:5007"), "192.0.2.1:5007") << "it is new";
  EXPECT_FALSE(moved_address);
  for (const char* from : {"192.0.2.1:5003", "192.0.2.1:5000", "192.0.2.1:5007", "192.0.2.1:5001"})
    EXPECT_EQ(after(from), "192.0.2.1:5007");
  EXPECT_EQ(after("192.0.2.1:5008"), "192.0.2.1:5008");
}

TEST_F(HeardPortsPeer, OneThatSpreadsIsFollowedToAnotherAddress) {
  peer.path.source_ports = 8;
  after_handshake("192.0.2.1:5000");
  after("192.0.2.1:5007");
  EXPECT_EQ(after("198.51.100.1:5003"), "198.51.100.1:5003");
  EXPECT_TRUE(moved_address);
  EXPECT_EQ(after("198.51.100.1:5001"), "198.51.100.1:5001") << "its ports are learned anew";
  EXPECT_EQ(after("198.51.100.1:5002"), "198.51.100.1:5001");
  EXPECT_EQ(after("198.51.100.1:5002", "192.0.2.10"), "198.51.100.1:5002") << "it calls another address of ours";
  EXPECT_TRUE(moved_address);
}

TEST_F(HeardPortsPeer, AHandshakeMovesTheEndpointAndBeginsTheRangeAnew) {
  peer.path.source_ports = 8;
  after_handshake("192.0.2.1:5000");
  after("192.0.2.1:5007");
  EXPECT_EQ(after_handshake("192.0.2.1:5003"), "192.0.2.1:5003") << "within the range";
  EXPECT_EQ(after("192.0.2.1:5005"), "192.0.2.1:5005");
  EXPECT_EQ(after("192.0.2.1:5004"), "192.0.2.1:5005");
  EXPECT_EQ(after("192.0.2.1:5000"), "192.0.2.1:5000");
}

TEST_F(HeardPortsPeer, OneThatIsToldToSpreadLaterIsHeldFromThenOn) {
  after_handshake("192.0.2.1:5000");
  after("192.0.2.1:5007");
  peer.path.source_ports = 8;
  after("192.0.2.1:5003");
  EXPECT_EQ(after("192.0.2.1:5001"), "192.0.2.1:5003") << "the handshake's port counts";
}

}  // namespace
}  // namespace culvert::pipeline
