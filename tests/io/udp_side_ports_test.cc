// UdpSide on several ports.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/io/loopback.h"

namespace culvert::io {
namespace {

constexpr uint16_t kPorts = 8;

UdpOptions several_ports() {
  UdpOptions options;
  options.source_ports.count = kPorts;
  return options;
}

class UdpSidePortsTest : public WithEngines {};

INSTANTIATE_WITH_ENGINES(UdpSidePortsTest);

TEST_P(UdpSidePortsTest, TellsItsPortsAndHasOneDescriptorForAll) {
  const End end(several_ports());
  EXPECT_EQ(end.side.local_ports().size(), kPorts);
  EXPECT_EQ(end.side.local_ports()[0], end.sockets->port());
  EXPECT_EQ(end.side.poll_fds().size(), 1u);
  EXPECT_EQ(End().side.local_ports().size(), 1u);
}

TEST_P(UdpSidePortsTest, SendsFromTheLocalPortOfTheDestinationInItsOrder) {
  End from(several_ports()), to;
  for (const char* host : {"127.0.0.1", "[::1]"}) {
    OutgoingRuns runs;
    std::map<uint16_t, std::vector<Bytes>> expected;
    for (uint16_t i = 0; i < 3 * kPorts; ++i) {
      OutgoingRun& run = runs.add(to.at(host), 5, 600, 100);
      run.local_port = from.sockets->ports()[(i * 5) % kPorts];
      for (uint32_t d = 0; d < run.datagrams; ++d) {
        const auto begin = run.bytes.begin() + static_cast<ptrdiff_t>(d) * 600;
        expected[run.local_port].emplace_back(begin, begin + run.length(d));
      }
    }
    runs.send(from.side);
    std::map<uint16_t, std::vector<Bytes>> got;
    for (const Arrived& one : to.receive(runs.total())) got[one.envelope.endpoint.port].push_back(one.bytes);
    EXPECT_EQ(got, expected);
  }
  EXPECT_EQ(from.side.counters().send_errors.get(), 0u);
}

TEST_P(UdpSidePortsTest, SendsFromTheBasePortWhatNamesNoPortOfOurs) {
  End from(several_ports()), to;
  OutgoingRuns runs;
  runs.add(to.at("127.0.0.1"), 1, 100);
  runs.add(to.at("127.0.0.1"), 1, 100).local_port = 9;
  runs.send(from.side);
  for (const Arrived& one : to.receive(2)) EXPECT_EQ(one.envelope.endpoint.port, from.sockets->port());
}

TEST_P(UdpSidePortsTest, ReceivesOnEveryPortAndSaysOnWhich) {
  End from, to(several_ports());
  OutgoingRuns runs;
  std::map<std::pair<Family, uint16_t>, std::vector<Bytes>> expected, got;
  for (size_t i = 0; i < 2 * kPorts; ++i) {
    const Endpoint at = to.at(i % 2 == 0 ? "127.0.0.1" : "[::1]", i / 2);
    runs.add(at, 7, 300);
    expected[{at.remote.family, at.port}] = runs.datagrams(at);
  }
  runs.send(from.side);
  for (const Arrived& one : to.receive(runs.total()))
    got[{one.envelope.endpoint.remote.family, one.envelope.local_port}].push_back(one.bytes);
  EXPECT_EQ(got, expected);
}

// Each receive goes on with the sockets that the last one had no buffers for.
TEST_P(UdpSidePortsTest, APortThatIsFloodedLeavesTheOthersTheirTurn) {
  End from, to(several_ports());
  OutgoingRuns runs;
  for (int i = 0; i < 100; ++i) runs.add(to.at("127.0.0.1"), 1, 100).allow_gso = false;
  for (size_t i = 1; i < kPorts; ++i) {
    runs.add(to.at("127.0.0.1", i), 1, 100);
    runs.add(to.at("[::1]", i), 1, 100);
  }
  runs.send(from.side);
  std::set<std::pair<Family, uint16_t>> seen;
  for (int batch = 0; batch < 6; ++batch)
    for (const Arrived& one : to.receive_batch())
      seen.insert({one.envelope.endpoint.remote.family, one.envelope.local_port});
  EXPECT_EQ(seen.size(), 2 * kPorts - 1u);
}

TEST_P(UdpSidePortsTest, AnythingThatIsSentFromAnyPortToAnyPortArrivesInOrder) {
  End from(several_ports()), to(several_ports());
  std::mt19937 random(7);  // NOLINT(cert-msc51-cpp): the same every time
  for (int round = 0; round < 20; ++round) {
    OutgoingRuns runs;
    std::map<std::pair<uint16_t, uint16_t>, std::vector<Bytes>> expected, got;
    for (int i = 0; i < 40; ++i) {
      const Endpoint at = to.at("127.0.0.1", random() % kPorts);
      OutgoingRun& run =
          runs.add(at, static_cast<uint16_t>(1 + random() % 9), static_cast<uint16_t>(4 + random() % 900));
      run.local_port = from.sockets->ports()[random() % kPorts];
      for (uint32_t d = 0; d < run.datagrams; ++d) {
        const auto begin = run.bytes.begin() + static_cast<ptrdiff_t>(d) * run.segment_size;
        expected[{run.local_port, at.port}].emplace_back(begin, begin + run.length(d));
      }
    }
    runs.send(from.side);
    for (const Arrived& one : to.receive(runs.total()))
      got[{one.envelope.endpoint.port, one.envelope.local_port}].push_back(one.bytes);
    EXPECT_EQ(got, expected);
  }
}

// What was refused there is reported by the socket that sent it.
TEST_P(UdpSidePortsTest, APortWithoutARecipientDisturbsNoOther) {
  End from(several_ports()), to;
  const auto gone = std::make_unique<End>();
  const Endpoint nowhere = gone->at("127.0.0.1");
  gone->sockets.reset();
  for (int round = 0; round < 3; ++round) {
    OutgoingRuns runs;
    for (size_t i = 0; i < kPorts; ++i) {
      runs.add(nowhere, 3, 200).local_port = from.sockets->ports()[i];
      runs.add(to.at("127.0.0.1"), 3, 200).local_port = from.sockets->ports()[i];
    }
    runs.send(from.side);
    (void)from.receive_batch();
    EXPECT_EQ(to.receive(3 * kPorts).size(), 3u * kPorts);
  }
}

}  // namespace
}  // namespace culvert::io
