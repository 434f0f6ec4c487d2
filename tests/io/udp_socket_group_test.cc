#include "io/udp_socket_group.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>

#include <cerrno>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "tests/io/outgoing.h"
#include "tests/own_namespace.h"

namespace culvert::io {
namespace {

// In a network namespace of its own, where no port is anybody else's.
class UdpSocketGroupTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_) GTEST_SKIP() << "needs network namespaces: run as root, or allow user namespaces";
    test::run("ip link set lo up");
  }
  static inline bool isolated_ = false;
};

// Notes what it is asked for, and takes no part in it.
class NotedSteering final : public SocketSteering {
 public:
  Status prepare(Family, int first, size_t members) override {
    prepared[first] = members;
    return Success{};
  }
  Status place(Family family, uint16_t port, std::span<const int> by_member) override {
    if (refuses) return Error{EPERM, "steer"};
    EXPECT_TRUE(prepared.contains(by_member[0])) << port;
    placed[{family, port}] = {by_member.begin(), by_member.end()};
    return Success{};
  }
  void forget(int first) override { EXPECT_EQ(prepared.erase(first), 1u); }

  bool refuses = false;
  std::map<int, size_t> prepared;
  std::map<std::pair<Family, uint16_t>, std::vector<int>> placed;
};

std::unique_ptr<UdpSocketGroup> open_group(const UdpOptions& options, size_t members = 1,
                                           SocketSteering* steering = nullptr, const UdpSocketGroup* before = nullptr) {
  auto group = UdpSocketGroup::open(options, members, steering, kernel_syscalls(), before);
  EXPECT_TRUE(group) << group.error().text();
  return group ? std::move(*group) : nullptr;
}

UdpOptions with_ports(uint16_t port, const char* source_ports) {
  UdpOptions options;
  options.port = port;
  options.source_ports = parse_source_ports(source_ports).value();
  return options;
}

std::vector<uint16_t> ports_of(const UdpSocketGroup& group) {
  return {group.ports().begin(), group.ports().end()};
}

bool is_shared(int fd) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &length), 0);
  return value == 1;
}

TEST_F(UdpSocketGroupTest, AMemberAloneSharesNothing) {
  NotedSteering steering;
  const auto group = open_group(with_ports(0, "3"), 1, &steering);
  EXPECT_EQ(group->ports().size(), 3u);
  for (size_t i = 0; i < 3; ++i)
    for (const Family family : {Family::v4, Family::v6}) EXPECT_FALSE(is_shared(group->member(0).fd(family, i)));
  EXPECT_EQ(steering.placed.size(), 6u) << "but it is ready for others";
  EXPECT_EQ(open_group({})->member(0).poller(), nullptr) << "one port needs no epoll of its own";
}

TEST_F(UdpSocketGroupTest, ACountIsTheBasePortAndItsNeighbours) {
  EXPECT_EQ(ports_of(*open_group(with_ports(5000, "4"))), (std::vector<uint16_t>{5000, 5001, 5002, 5003}));
  const auto anywhere = open_group(with_ports(0, "8"));
  std::vector<uint16_t> neighbours(8);
  std::iota(neighbours.begin(), neighbours.end(), anywhere->port());
  EXPECT_EQ(ports_of(*anywhere), neighbours);
}

TEST_F(UdpSocketGroupTest, ACountPassesByNeighboursThatAreTaken) {
  const auto taken = open_sockets({.port = 5002});
  EXPECT_EQ(ports_of(*open_group(with_ports(5000, "4"))), (std::vector<uint16_t>{5000, 5001, 5003, 5004}));
  const auto at_the_end = ports_of(*open_group(with_ports(65534, "4")));
  EXPECT_EQ(at_the_end.size(), 4u);
  EXPECT_EQ(std::set(at_the_end.begin(), at_the_end.end()).size(), 4u);
  EXPECT_EQ(at_the_end[1], 65535);
}

TEST_F(UdpSocketGroupTest, ARangeBeginsWithItsFirstPortUnlessAnotherListens) {
  EXPECT_EQ(ports_of(*open_group(with_ports(0, "5000-5003"))), (std::vector<uint16_t>{5000, 5001, 5002, 5003}));
  EXPECT_EQ(ports_of(*open_group(with_ports(5002, "5000-5003"))), (std::vector<uint16_t>{5002, 5000, 5001, 5003}));
  EXPECT_EQ(ports_of(*open_group(with_ports(4000, "5000-5001"))), (std::vector<uint16_t>{4000, 5000, 5001}));
}

TEST_F(UdpSocketGroupTest, APortOfARangeThatIsTakenIsAnErrorThatNamesIt) {
  const auto taken = open_sockets({.port = 5002});
  for (const size_t members : {1, 3}) {
    const auto group = UdpSocketGroup::open(with_ports(0, "5000-5003"), members);
    ASSERT_FALSE(group);
    EXPECT_EQ(group.error().number, EADDRINUSE);
    EXPECT_NE(group.error().text().find("5002"), std::string::npos) << group.error().text();
  }
  EXPECT_EQ(UdpSocketGroup::open(with_ports(5002, "4"), 2).error().number, EADDRINUSE) << "and so is the base port";
}

// Their port is as taken for other groups as that of a member alone.
TEST_F(UdpSocketGroupTest, MembersShareAPortThatIsTakenForOthers) {
  const auto group = open_group(with_ports(5000, "2"), 3);
  EXPECT_EQ(group->size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(group->member(i).port(), 5000);
    EXPECT_TRUE(is_shared(group->member(i).fd(Family::v4, 1)));
  }
  for (const uint16_t port : {5000, 5001}) {
    EXPECT_EQ(UdpSockets::open({.port = port}).error().number, EADDRINUSE);
    EXPECT_EQ(UdpSocketGroup::open({.port = port}, 2).error().number, EADDRINUSE);
  }
}

TEST_F(UdpSocketGroupTest, SteersEachPortAndFamilyAgainAfterEachChange) {
  NotedSteering steering;
  const auto group = open_group(with_ports(5000, "2"), 2, &steering);
  const auto expect_placed = [&] {
    EXPECT_EQ(steering.placed.size(), 4u);
    for (const auto& [where, sockets] : steering.placed) {
      ASSERT_EQ(sockets.size(), group->size());
      for (size_t i = 0; i < sockets.size(); ++i)
        EXPECT_EQ(sockets[i], group->member(i).fd(where.first, group->member(i).index_of(where.second)));
    }
  };
  expect_placed();
  ASSERT_TRUE(group->add_member());
  expect_placed();
  group->remove_last_member();
  expect_placed();
  steering.refuses = true;
  EXPECT_EQ(group->add_member().error().number, EPERM);
  EXPECT_EQ(group->size(), 2u) << "an error leaves the group as it was";
  EXPECT_FALSE(UdpSocketGroup::open(with_ports(6000, "2"), 2, &steering));
  EXPECT_EQ(steering.prepared.size(), 4u) << "and is forgotten where it fails";
}

TEST_F(UdpSocketGroupTest, IsForgottenByTheSteeringWhenItIsClosedButNotWhenItIsTakenOver) {
  NotedSteering steering;
  auto before = open_group(with_ports(5000, "4"), 2, &steering);
  const auto taken = open_sockets({.port = 5004});
  auto after = open_group(with_ports(5002, "4"), 2, &steering, before.get());
  EXPECT_EQ(steering.prepared.size(), 2 * 6u);
  before.reset();
  EXPECT_EQ(steering.prepared.size(), 2 * 4u);
  ASSERT_TRUE(after->add_member());
  for (const uint16_t port : after->ports()) EXPECT_EQ((steering.placed[{Family::v6, port}].size()), 3u) << port;
  after.reset();
  EXPECT_TRUE(steering.prepared.empty());
}

TEST_F(UdpSocketGroupTest, AMemberJoinsALoneOneAtRunTime) {
  NotedSteering steering;
  const auto group = open_group(with_ports(5000, "2"), 1, &steering);
  ASSERT_TRUE(group->add_member());
  EXPECT_EQ(group->size(), 2u);
  EXPECT_EQ(steering.placed.size(), 4u);
  EXPECT_EQ(UdpSockets::open({.port = 5001}).error().number, EADDRINUSE);
}

// As after a change of the listen port: the new ports overlap the old ones, which are still in use.
TEST_F(UdpSocketGroupTest, TakesOverThePortsThatItHadBefore) {
  for (const size_t members : {1, 2}) {
    auto before = open_group(with_ports(5000, "4"), members);
    EXPECT_FALSE(UdpSocketGroup::open(with_ports(5002, "4"), members));
    auto after = open_group(with_ports(5002, "4"), members, nullptr, before.get());
    EXPECT_EQ(ports_of(*after), (std::vector<uint16_t>{5002, 5003, 5004, 5005}));
    // What is on its way to a port that stays is not lost.
    auto sender = open_sockets();
    const sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(5003), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    ASSERT_EQ(sendto(sender->fd(Family::v4), "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to), 1);
    before.reset();
    size_t received = 0;
    for (size_t i = 0; i < members; ++i) {
      char byte = 0;
      received += recv(after->member(i).fd(Family::v4, 1), &byte, 1, MSG_DONTWAIT) == 1 ? 1 : 0;
    }
    EXPECT_EQ(received, 1u);
    EXPECT_TRUE(UdpSockets::open({.port = 5001})) << "what it does not take is free";
    EXPECT_FALSE(UdpSockets::open({.port = 5003}));
  }
}

TEST_F(UdpSocketGroupTest, SetsTheFwmarkOfAllAndOfThoseToCome) {
  const auto group = open_group(with_ports(5000, "2"), 2);
  ASSERT_TRUE(group->set_fwmark(7));
  ASSERT_TRUE(group->add_member());
  for (size_t member = 0; member < 3; ++member) {
    for (size_t port = 0; port < 2; ++port) {
      uint32_t mark = 0;
      socklen_t length = sizeof mark;
      ASSERT_EQ(getsockopt(group->member(member).fd(Family::v6, port), SOL_SOCKET, SO_MARK, &mark, &length), 0);
      EXPECT_EQ(mark, 7u) << member << ' ' << port;
    }
  }
}

TEST_F(UdpSocketGroupTest, FindsAPortByItsNumber) {
  const auto taken = open_sockets({.port = 5001});
  const auto group = open_group(with_ports(5000, "3"));
  const UdpSockets& member = group->member(0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(member.index_of(member.ports()[i]), i);
  for (const uint16_t port : {0, 4999, 5001, 65535}) EXPECT_EQ(member.index_of(port), 3u) << port;
}

}  // namespace
}  // namespace culvert::io
