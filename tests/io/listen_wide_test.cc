// Listening wide, in a network namespace of the test's own whose loopback interface has two prefixes of addresses.
#include "io/listen_wide.h"

#include <gmock/gmock.h>

#include <functional>
#include <set>

#include "io/udp_steering.h"
#include "tests/cap_bpf.h"
#include "tests/io/loopback.h"
#include "tests/own_namespace.h"

namespace culvert::io {
namespace {

constexpr const char* kRange = "198.51.100.0/24 2001:db8:77::/64 40000-40999";

TEST(WideRangeTest, ReadsPortsAndPrefixes) {
  const auto range = parse_wide_range(kRange);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first_port, 40000);
  EXPECT_EQ(range->last_port, 40999);
  ASSERT_EQ(range->prefixes.size(), 2u);
  EXPECT_EQ(range->prefixes[0].address, endpoint("198.51.100.0:1").remote);
  EXPECT_EQ(range->prefixes[0].length, 24);
  EXPECT_EQ(range->prefixes[1].length, 64);
  EXPECT_EQ(parse_wide_range("40000-40999,198.51.100.0/24,\t2001:db8:77::/64")->first_port, 40000);
  EXPECT_EQ(parse_wide_range("443")->last_port, 443);
  EXPECT_FALSE(parse_wide_range("192.0.2.1")->has_ports());
  EXPECT_EQ(parse_wide_range("192.0.2.1")->prefixes[0].length, 32);
  EXPECT_EQ(parse_wide_range("::/0")->prefixes[0].length, 0);
}

TEST(WideRangeTest, ReadsNothingElse) {
  std::string many;
  for (size_t i = 0; i <= WideRange::kMostPrefixes; ++i) many += " 192.0.2." + std::to_string(i);
  for (const std::string& text :
       {std::string(), std::string(" , "), std::string("0"), std::string("5-4"), std::string("0-9"),
        std::string("65536"), std::string("1-65536"), std::string("80 81"), std::string("80-"), std::string("-80"),
        std::string("eighty"), std::string("192.0.2.0/33"), std::string("192.0.2.0/"), std::string("192.0.2/24"),
        std::string("::/129"), std::string("192.0.2.1:80"), many})
    EXPECT_FALSE(parse_wide_range(text)) << text;
}

class ListenWideTest : public WithEngines {
 protected:
  void SetUp() override {
    WithEngines::SetUp();
    NEEDS_CAP_BPF();
    static const bool ready = test::enter_own_namespaces(CLONE_NEWNET) &&
                              test::run(
                                  "ip link set lo up && ip route add local 198.51.100.0/24 dev lo && "
                                  "ip -6 route add local 2001:db8:77::/64 dev lo") == 0;
    ASSERT_TRUE(ready);
  }

  void open(size_t workers, bool steered) {
    auto made = SteeringMap::create(SteeringTable(workers));
    ASSERT_TRUE(made) << made.error().text();
    map = std::move(*made);
    if (steered) steering = std::make_unique<EbpfSocketSteering>(*map);
    auto opened = UdpSocketGroup::open({.wide = true}, workers, steering.get());
    ASSERT_TRUE(opened) << opened.error().text();
    group = std::move(*opened);
    for (size_t i = 0; i < workers; ++i) sides.push_back(std::make_unique<UdpSide>(group->member(i), transfer()));
    listen();
  }
  void listen() {
    auto opened = WideListener::open(*parse_wide_range(kRange), *group);
    ASSERT_TRUE(opened) << opened.error().text();
    listener = std::move(*opened);
  }

  // What the next receive of worker `i` that yields something yields.
  std::vector<Arrived> receive(size_t i, size_t datagrams) {
    std::vector<Arrived> all;
    while (all.size() < datagrams) {
      std::vector<pollfd> waiting;
      for (const int fd : sides[i]->poll_fds()) waiting.push_back({fd, POLLIN, 0});
      if (!batch->more && ::poll(waiting.data(), waiting.size(), 20'000) <= 0) {
        ADD_FAILURE() << "nothing came to worker " << i;
        return all;
      }
      sides[i]->receive(*batch);
      for (const Datagram& one : std::span(batch->datagrams).first(batch->count))
        all.push_back({Bytes(one.bytes, one.bytes + one.length), batch->envelopes.at(one.envelope)});
      sides[i]->release(*batch);
    }
    return all;
  }

  std::unique_ptr<SteeringMap> map;
  std::unique_ptr<SocketSteering> steering;
  std::unique_ptr<UdpSocketGroup> group;
  std::vector<std::unique_ptr<UdpSide>> sides;
  std::unique_ptr<WideListener> listener;
  std::unique_ptr<Received> batch = std::make_unique<Received>();
};
INSTANTIATE_WITH_ENGINES(ListenWideTest);

// A peer whose address is on the loopback interface.
struct Client {
  explicit Client(Family of) : family(of), end({.gro = false}) {}

  void send(const Bytes& datagram, const std::string& to) {
    OutgoingRuns runs;
    OutgoingRun& run = runs.add(endpoint(to, family == Family::v4 ? "127.0.0.1" : "[::1]"), 1, 64);
    run.bytes = datagram;
    runs.send(end.side);
    EXPECT_EQ(run.datagrams_sent, 1u) << to;
  }

  const Family family;
  End end;
};

// Transport data of this home slot.
Bytes transport(uint8_t home) {
  Bytes bytes(64, 0xaa);
  bytes[0] = 4;
  bytes[7] = home;
  return bytes;
}

std::string at(Family family, unsigned host, unsigned port) {
  const std::string number = std::to_string(host);
  return (family == Family::v4 ? "198.51.100." + number : "[2001:db8:77::" + number + "]") + ':' + std::to_string(port);
}

TEST_P(ListenWideTest, AnswersFromTheAddressAndPortThatWereAsked) {
  for (const auto& [workers, steered] : {std::pair(1, false), std::pair(1, true), std::pair(3, true)}) {
    listener.reset();
    sides.clear();
    group.reset();
    steering.reset();
    ASSERT_NO_FATAL_FAILURE(open(static_cast<size_t>(workers), steered));
    for (const Family family : {Family::v4, Family::v6}) {
      Client client(family);
      for (const unsigned port : {40000u, 40500u, 40999u, unsigned{group->port()}}) {
        for (uint8_t home = 0; home < 3; ++home) {
          const std::string asked = at(family, 7u + home, port);
          client.send(transport(home), asked);
          const size_t worker = home % static_cast<size_t>(workers);
          const std::vector<Arrived> got = receive(worker, 1);
          ASSERT_EQ(got.size(), 1u) << asked;
          EXPECT_EQ(got[0].envelope.local_port, port);
          EXPECT_EQ(got[0].envelope.endpoint.source, endpoint(asked).remote);
          OutgoingRuns answer;
          answer.add(got[0].envelope.endpoint, 5, 500).local_port = got[0].envelope.local_port;
          answer.send(*sides[worker]);
          for (const Arrived& one : client.end.receive(5)) {
            EXPECT_EQ(one.envelope.endpoint.port, port) << asked;
            EXPECT_EQ(one.envelope.endpoint.remote, endpoint(asked).remote);
          }
        }
      }
    }
  }
}

TEST_P(ListenWideTest, LeavesOtherPortsAndAddressesAloneAndEndsWithTheListener) {
  ASSERT_NO_FATAL_FAILURE(open(2, true));
  for (const Family family : {Family::v4, Family::v6}) {
    Client client(family);
    const std::string loopback = family == Family::v4 ? "127.0.0.1:" : "[::1]:";
    // Bound to a port behind the range, and to one within it.
    End behind({.port = 41000}), within({.port = 40001});
    client.send(transport(0), at(family, 7, 41000));
    EXPECT_EQ(behind.receive(1).size(), 1u);
    client.send(transport(0), loopback + "40001");
    EXPECT_EQ(within.receive(1).size(), 1u) << "no address of the prefixes";
    client.send(transport(0), at(family, 7, 40001));
    ASSERT_EQ(receive(0, 1).size(), 1u);
    EXPECT_TRUE(within.receive_batch().empty());
    listener.reset();
    client.send(transport(0), at(family, 7, 40001));
    EXPECT_EQ(within.receive(1).size(), 1u);
    listen();
  }
}

TEST_P(ListenWideTest, AnswersFromAnyNumberOfPorts) {
  ASSERT_NO_FATAL_FAILURE(open(1, true));
  Client client(Family::v4);
  std::set<uint16_t> ports;
  OutgoingRuns at_once;
  for (unsigned port = 40000; port < 40150; ++port) {
    client.send(transport(0), at(Family::v4, 7, port));
    const std::vector<Arrived> got = receive(0, 1);
    ASSERT_EQ(got.size(), 1u);
    OutgoingRuns answer;
    answer.add(got[0].envelope.endpoint, 1, 64).local_port = got[0].envelope.local_port;
    at_once.add(got[0].envelope.endpoint, 1, 64).local_port = got[0].envelope.local_port;
    answer.send(*sides[0]);
    for (const Arrived& one : client.end.receive(1)) ports.insert(one.envelope.endpoint.port);
  }
  EXPECT_EQ(ports.size(), 150u);
  // One batch has sockets for 64 of them; the others leave from the base port.
  at_once.send(*sides[0]);
  size_t from_base = 0;
  for (const Arrived& one : client.end.receive(150)) from_base += one.envelope.endpoint.port == group->port();
  // One more where the kernel has given a port of the range to the client itself.
  EXPECT_GE(from_base, 150 - PortSenders::kMost);
  EXPECT_LE(from_base, 150 - PortSenders::kMost + 1);
}

TEST_P(ListenWideTest, AnswersFromTheBasePortWhereThePortIsTaken) {
  ASSERT_NO_FATAL_FAILURE(open(1, true));
  const End taken({.port = 40002});
  Client client(Family::v6);
  client.send(transport(0), at(Family::v6, 7, 40002));
  const std::vector<Arrived> got = receive(0, 1);
  ASSERT_EQ(got.size(), 1u);
  OutgoingRuns answer;
  answer.add(got[0].envelope.endpoint, 1, 64).local_port = got[0].envelope.local_port;
  answer.send(*sides[0]);
  for (const Arrived& one : client.end.receive(1)) EXPECT_EQ(one.envelope.endpoint.port, group->port());
}

TEST_P(ListenWideTest, WorkersComeAndGoMeanwhile) {
  ASSERT_NO_FATAL_FAILURE(open(1, true));
  SteeringTable table(1);
  Client client(Family::v4);
  for (const size_t workers : {2u, 3u, 1u}) {
    while (group->size() < workers) {
      const Status added = group->add_member();
      ASSERT_TRUE(added) << added.error().text();
      sides.push_back(std::make_unique<UdpSide>(group->member(group->size() - 1), transfer()));
    }
    table.resize(workers);
    ASSERT_TRUE(map->set(table));
    while (group->size() > workers) {
      sides.pop_back();
      group->remove_last_member();
    }
    for (uint8_t home = 0; home < 12; ++home) {
      client.send(transport(home), at(Family::v4, 7, 40000 + home));
      ASSERT_EQ(receive(table.worker(home), 1).size(), 1u);
    }
  }
}

}  // namespace
}  // namespace culvert::io
