// Flows over several source ports: through both pipelines, without sockets.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using test::Bytes;
using test::End;
using test::InnerPacket;
using test::kStart;
using test::PacketSpec;
using test::superpacket;
using test::Train;
using test::Tunnel;

constexpr uint16_t kBase = 1001;  // of Tunnel::left
constexpr size_t kPorts = 8;

struct SourcePortsTest : testing::Test, Tunnel {
  SourcePortsTest() {
    for (uint16_t i = 0; i < kPorts; ++i) left.outer.ports.push_back(static_cast<uint16_t>(kBase + i));
    to_right.path.source_ports = kPorts;
  }

  static InnerPacket packet_of(uint16_t flow, uint32_t sequence = 1) {
    PacketSpec spec;
    spec.source_port = flow;
    spec.sequence = sequence;
    return superpacket(spec);
  }

  // The port that each flow leaves from.
  std::map<uint16_t, uint16_t> ports_of_flows(End& end, uint16_t flows, uint32_t sequence = 1) {
    std::map<uint16_t, uint16_t> ports;
    for (uint16_t flow = 0; flow < flows; ++flow) {
      end.send(packet_of(flow, sequence));
      EXPECT_EQ(end.outer.sent.size(), 1u);
      ports[flow] = end.outer.sent.at(0).local_port;
      end.outer.sent.clear();
    }
    return ports;
  }
};

TEST_F(SourcePortsTest, AFlowKeepsItsPortForItsLifeAlsoOnAnotherWorker) {
  const auto ports = ports_of_flows(left, 200);
  EXPECT_EQ(ports_of_flows(left, 200, 77), ports);
  // Another worker of the same device.
  Mailbox mailbox{*left.wakeup, 1};
  WorkerStats stats;
  Outbound other(left.published, mailbox, stats);
  for (const auto& [flow, port] : ports) {
    left.inner.to_read.push_back(packet_of(flow));
    size_t read = 0;
    (void)other.run(left.inner, &left.outer, kStart, read);
    ASSERT_EQ(left.outer.sent.size(), 1u);
    EXPECT_EQ(left.outer.sent[0].local_port, port);
    left.outer.sent.clear();
  }
  std::set<uint16_t> used;
  for (const auto& [flow, port] : ports) used.insert(port);
  EXPECT_EQ(used, std::set(left.outer.ports.begin(), left.outer.ports.end()));
}

TEST_F(SourcePortsTest, APeerHasAsManyPortsAsItIsGiven) {
  for (const uint16_t given : {1, 3, 8, 100}) {
    to_right.path.source_ports = given;
    std::set<uint16_t> used;
    for (const auto& [flow, port] : ports_of_flows(left, 200)) used.insert(port);
    EXPECT_EQ(used.size(), std::min<size_t>(given, kPorts));
    EXPECT_EQ(*used.begin(), kBase);
    EXPECT_EQ(*used.rbegin(), kBase + used.size() - 1);
  }
}

TEST_F(SourcePortsTest, ASuperpacketLeavesFromOnePortAsOneTrain) {
  PacketSpec spec;
  spec.payload_bytes = 20'000;
  left.send(superpacket(spec, 1000));
  ASSERT_EQ(left.outer.sent.size(), 1u);
  EXPECT_EQ(left.outer.sent[0].datagrams().size(), 20u);
}

// In one batch, by turns.
TEST_F(SourcePortsTest, EachPortHasATrainOfItsOwnInTheOrderOfItsFlows) {
  const auto ports = ports_of_flows(left, 20);  // one batch, all of them
  std::map<uint16_t, size_t> expected;
  for (uint32_t round = 0; round < 3; ++round) {
    for (const auto& [flow, port] : ports) {
      left.inner.to_read.push_back(packet_of(flow, 1 + round));
      ++expected[port];
    }
  }
  left.send();
  std::map<uint16_t, size_t> sent;
  for (const Train& train : left.outer.sent) sent[train.local_port] += train.datagrams().size();
  EXPECT_EQ(sent, expected);
  EXPECT_EQ(left.outer.sent.size(), expected.size()) << "a train for each port";
  carry(left, right);
  right.receive();
  std::map<unsigned, uint32_t> last;
  for (const Bytes& packet : right.inner.take_packets()) {
    const uint32_t sequence = packet::test::get32(packet, 24);
    uint32_t& before = last[packet::test::get16(packet, 20)];
    EXPECT_GT(sequence, before);
    before = sequence;
  }
  EXPECT_EQ(last.size(), 20u);
}

TEST_F(SourcePortsTest, TheOtherEndKeepsItsEndpointOnceItHasHeardOfAllPorts) {
  to_left.path.source_ports = kPorts;
  to_left.path.follow_handshake(left.at);
  const auto send_all = [&] {
    std::set<uint16_t> endpoints;
    for (uint16_t flow = 0; flow < 60; ++flow) {
      (void)transfer({packet_of(flow)});
      endpoints.insert(to_left.path.endpoint.load().port);
    }
    return endpoints;
  };
  EXPECT_LE(send_all().size(), kPorts);
  EXPECT_EQ(send_all().size(), 1u);
}

TEST_F(SourcePortsTest, AnOrdinaryEndAnswersToThePortThatItHeardLast) {
  const auto ports = ports_of_flows(left, 60);
  for (const auto& [flow, port] : ports) {
    (void)transfer({packet_of(flow)});
    EXPECT_EQ(to_left.path.endpoint.load().port, port);
  }
}

// The tunnel is routed into itself: whichever of our ports the datagram comes from.
TEST_F(SourcePortsTest, NoticesADatagramOfItsOwnFromEachOfItsPorts) {
  io::Endpoint there = test::endpoint("10.0.1.1:2000");
  there.source = test::address("10.0.0.1");
  to_right.path.endpoint.store(there);
  PacketSpec spec;
  spec.tcp = false;
  for (const uint16_t port : left.outer.ports) {
    spec.source_port = port;
    left.send(superpacket(spec));
  }
  EXPECT_EQ(left.drops(DropReason::routing_loop), kPorts);
  spec.source_port = kBase + kPorts;
  left.send(superpacket(spec));
  EXPECT_EQ(left.outer.sent.size(), 1u);
}

}  // namespace
}  // namespace culvert::pipeline
