// The programs that choose a socket, in the kernel that runs the tests.
#include "io/udp_steering.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "io/udp_socket_group.h"
#include "tests/cap_bpf.h"
#include "tests/io/steered_group.h"

namespace culvert::io {
namespace {

constexpr uint32_t kRandomBits = 0xabcdef;

Bytes message(uint8_t type, uint32_t receiver_index, size_t length = 64) {
  Bytes bytes(std::max<size_t>(length, 8));
  bytes[0] = type;
  std::memcpy(&bytes[4], &receiver_index, 4);
  bytes.resize(length);
  return bytes;
}
Bytes transport(uint32_t home, bool spread = false) {
  return message(4, home << kHomeSlotShift | (spread ? kSpreadBit : 0) | kRandomBits);
}

struct Path {
  const char* name;
  Family family;
  size_t ipv4_options;
  bool ipv6_extension;
  bool classic_knows_port = true;
};
constexpr Path kPaths[] = {{"v4", Family::v4, 0, false},
                           {"v4 with 8 bytes of options", Family::v4, 8, false},
                           {"v4 with 40 bytes of options", Family::v4, 40, false},
                           {"v6", Family::v6, 0, false},
                           {"v6 with an extension header", Family::v6, 0, true, false}};

Sender sender_on(const Path& path) {
  Sender sender(path.family);
  if (path.ipv4_options != 0) sender.add_ipv4_options(path.ipv4_options);
  if (path.ipv6_extension) sender.add_ipv6_extension_header();
  return sender;
}

struct Case {
  const char* name;
  Bytes bytes;
};
std::vector<Case> cases() {
  std::vector<Case> all{{"empty", {}},
                        {"one byte", {4}},
                        {"transport data without an index", message(4, 0x05000000, 4)},
                        {"transport data with most of an index", message(4, 0x05000000, 7)},
                        {"no more than an index", message(4, 0x05000000, 8)},
                        {"handshake initiation", message(1, 0x05000000, 148)},
                        {"handshake response", message(2, 0x05000000, 92)},
                        {"cookie reply", message(3, 0x05000000, 64)},
                        {"unknown type", message(77, 0x05000000)}};
  for (const uint32_t home : {0u, 1u, 2u, 5u, 64u, 126u, 127u}) {
    all.push_back({"home", transport(home)});
    all.push_back({"home, spread", transport(home, true)});
  }
  return all;
}

// What io/udp_steering.h promises.
size_t expected(const SteeringTable& table, const Bytes& bytes, uint16_t source_port) {
  if (bytes.size() < 8 || bytes[0] != 4) return 0;
  uint32_t index = 0;
  std::memcpy(&index, &bytes[4], 4);
  return table.worker(slot_of(index, source_port));
}

std::unique_ptr<SteeringMap> make_map(const SteeringTable& table) {
  auto map = SteeringMap::create(table);
  EXPECT_TRUE(map) << map.error().text();
  return map ? std::move(*map) : nullptr;
}

TEST(EbpfSocketSteeringTest, BringsEveryDatagramToItsWorker) {
  NEEDS_CAP_BPF();
  SteeringTable grown(2);
  grown.resize(5);
  for (const SteeringTable& table : {SteeringTable(1), SteeringTable(3), grown}) {
    const auto map = make_map(table);
    EbpfSocketSteering steering(*map);
    for (const Path& path : kPaths) {
      Group group(steering, path.family, table.workers());
      for (int i = 0; i < 5; ++i) {
        Sender sender = sender_on(path);
        for (const Case& each : cases()) {
          sender.send(each.bytes, group);
          ASSERT_EQ(group.receiver(), expected(table, each.bytes, sender.port())) << path.name << ", " << each.name;
        }
      }
    }
  }
}

TEST(ClassicSocketSteeringTest, AgreesWithATableThatIsNeverResized) {
  for (const size_t workers : {1u, 2u, 3u, 5u}) {
    const SteeringTable table(workers);
    ClassicSocketSteering steering;
    for (const Path& path : kPaths) {
      Group group(steering, path.family, workers);
      for (int i = 0; i < 5; ++i) {
        Sender sender = sender_on(path);
        for (const Case& each : cases()) {
          const bool reads_port = each.bytes.size() >= 8 && each.bytes[0] == 4 && (each.bytes[7] & 0x80) != 0;
          sender.send(each.bytes, group);
          const size_t receiver = group.receiver();
          if (reads_port && !path.classic_knows_port) {
            // A wrong worker, but always the same one.
            sender.send(each.bytes, group);
            ASSERT_EQ(group.receiver(), receiver) << path.name << ", " << each.name;
          } else {
            ASSERT_EQ(receiver, expected(table, each.bytes, sender.port())) << path.name << ", " << each.name;
          }
        }
      }
    }
  }
}

TEST(EbpfSocketSteeringTest, KeepsATrainWhole) {
  NEEDS_CAP_BPF();
  const SteeringTable table(3);
  const auto map = make_map(table);
  EbpfSocketSteering steering(*map);
  for (const Family family : {Family::v4, Family::v6}) {
    Group group(steering, family, 3);
    Sender sender(family);
    Bytes train;
    for (const uint32_t home : {2u, 1u, 0u, 2u, 1u}) {
      Bytes datagram = transport(home);
      datagram.resize(300);
      train.insert(train.end(), datagram.begin(), datagram.end());
    }
    sender.send(train, group, 300);
    EXPECT_EQ(group.receiver(5), 2u) << "by its first datagram, which has linear bytes for its header alone";
  }
}

TEST(SocketSteeringTest, RefusesAPortThatIsTakenEvenByAGroup) {
  ClassicSocketSteering classic;
  std::unique_ptr<SteeringMap> map =
      test::has_cap_bpf() && test::build_has_bpf() ? make_map(SteeringTable(2)) : nullptr;
  std::vector<std::unique_ptr<SocketSteering>> all;
  all.push_back(std::make_unique<ClassicSocketSteering>());
  if (map) all.push_back(std::make_unique<EbpfSocketSteering>(*map));
  for (const auto& steering : all) {
    const Group taken(*steering, Family::v4, 2);
    const Fd first = udp_socket(Family::v4);
    ASSERT_TRUE(steering->prepare(Family::v4, first.get(), 2));
    EXPECT_EQ(bind_loopback(first.get(), Family::v4, taken.port()), EADDRINUSE);
    steering->forget(first.get());
  }
}

TEST(EbpfSocketSteeringTest, TheFirstOfAGroupHasTheProgramBeforeOthersJoin) {
  NEEDS_CAP_BPF();
  const auto map = make_map(SteeringTable(1));
  EbpfSocketSteering steering(*map);
  Group group(steering, Family::v4, 1);
  group.sockets().push_back(group.another());
  for (int i = 0; i < 32; ++i) {  // by the kernel's hash half of them would go to the second
    Sender sender(Family::v4);
    sender.send(transport(1), group);
    ASSERT_EQ(group.receiver(), 0u);
  }
}

TEST(EbpfSocketSteeringTest, FollowsATableThatChangesUnderTraffic) {
  NEEDS_CAP_BPF();
  SteeringTable table(1);
  const auto map = make_map(table);
  EbpfSocketSteering steering(*map);
  Group group(steering, Family::v6, 1);
  Sender sender(Family::v6);
  for (const size_t workers : {1u, 2u, 4u, 7u, 3u, 1u}) {
    while (group.sockets().size() < workers) group.sockets().push_back(group.another());
    group.place();
    table.resize(workers);
    ASSERT_TRUE(map->set(table));
    if (group.sockets().size() > workers) {  // only once the table names them no more
      std::vector<Fd> leaving;
      while (group.sockets().size() > workers) {
        leaving.push_back(std::move(group.sockets().back()));
        group.sockets().pop_back();
      }
      group.place();
    }
    for (uint32_t home = 0; home < kSlots; ++home) {
      sender.send(transport(home), group);
      ASSERT_EQ(group.receiver(), table.worker(home)) << workers << " workers";
    }
  }
  EXPECT_EQ(map->table(), table);
}

TEST(EbpfSocketSteeringTest, AMemberCanBeReplaced) {
  NEEDS_CAP_BPF();
  const auto map = make_map(SteeringTable(2));
  EbpfSocketSteering steering(*map);
  Group group(steering, Family::v4, 2);
  Sender sender(Family::v4);
  Fd substitute = group.another();
  std::swap(group.sockets()[1], substitute);
  group.place();
  sender.send(transport(1), group);
  EXPECT_EQ(group.receiver(), 1u);
  substitute.reset();
  // One that was closed, and whose number its substitute has.
  const int number = group.sockets()[1].get();
  group.sockets()[1].reset();
  ASSERT_EQ(::dup2(group.another().get(), number), number);
  group.sockets()[1] = Fd(number);
  group.place();
  sender.send(transport(1), group);
  EXPECT_EQ(group.receiver(), 1u);
}

TEST(EbpfSocketSteeringTest, MembersCanChangePlaces) {
  NEEDS_CAP_BPF();
  const auto map = make_map(SteeringTable(3));
  EbpfSocketSteering steering(*map);
  Group group(steering, Family::v4, 3);
  Sender sender(Family::v4);
  std::swap(group.sockets()[1], group.sockets()[2]);
  group.place();
  for (const uint32_t home : {0u, 1u, 2u}) {
    sender.send(transport(home), group);
    EXPECT_EQ(group.receiver(), home);
  }
}

TEST(EbpfSocketSteeringTest, AWorkerWithoutASocketIsAnybodys) {
  NEEDS_CAP_BPF();
  const auto map = make_map(SteeringTable(3));
  EbpfSocketSteering steering(*map);
  Group group(steering, Family::v4, 3);
  Sender sender(Family::v4);
  group.sockets().pop_back();
  sender.send(transport(2), group);
  EXPECT_LT(group.receiver(), 2u) << "not lost, and not refused";
}

TEST(EbpfSocketSteeringTest, SaysWhichGroupItCannotSteer) {
  NEEDS_CAP_BPF();
  const auto map = make_map(SteeringTable(2));
  EbpfSocketSteering steering(*map);
  Group group(steering, Family::v4, 2);
  group.sockets().push_back(udp_socket(Family::v4));  // not bound
  const Status unbound = group.try_to_place();
  ASSERT_FALSE(unbound);
  EXPECT_EQ(unbound.error().number, EINVAL);
  EXPECT_THAT(unbound.error().text(), testing::HasSubstr("IPv4 UDP port " + std::to_string(group.port())));
  const Fd stranger = udp_socket(Family::v4);
  EXPECT_EQ(steering.place(Family::v4, 7, {{stranger.get()}}).error().number, EINVAL);
  const Fd no_socket(::dup(0));
  EXPECT_EQ(steering.prepare(Family::v4, no_socket.get(), 2).error().number, ENOTSOCK);
}

TEST(ClassicSocketSteeringTest, RefusesToChangeTheNumberOfWorkers) {
  ClassicSocketSteering steering;
  Group group(steering, Family::v4, 2);
  group.sockets().push_back(group.another());
  EXPECT_EQ(group.try_to_place().error().number, EOPNOTSUPP);
  group.sockets().pop_back();
  EXPECT_TRUE(group.try_to_place());
  group.sockets().pop_back();
  EXPECT_EQ(group.try_to_place().error().number, EOPNOTSUPP);
}

// Sends to every port and family, and to every home slot, and expects each at the socket of its worker.
void expect_steered(UdpSocketGroup& group, const SteeringTable& table) {
  for (size_t port = 0; port < group.ports().size(); ++port)
    for (const Family family : {Family::v4, Family::v6}) {
      Sender sender(family);
      for (uint32_t home = 0; home < kSlots; home += 3) {
        sender.send(transport(home), group.ports()[port]);
        const int fd = group.member(table.worker(home)).fd(family, port);
        pollfd waiting{fd, POLLIN, 0};
        Bytes bytes(2000);
        ASSERT_EQ(::poll(&waiting, 1, 20'000), 1) << "home slot " << home << " of " << table.workers() << " workers";
        ASSERT_EQ(::recv(fd, bytes.data(), bytes.size(), 0), 64);
      }
    }
}

TEST(EbpfSocketSteeringTest, FollowsTheSocketsOfADeviceThroughTheirLife) {
  NEEDS_CAP_BPF();
  SteeringTable table(1);
  const auto map = make_map(table);
  EbpfSocketSteering steering(*map);
  const UdpOptions options{.source_ports = {.count = 3}};
  auto group = UdpSocketGroup::open(options, 1, &steering);
  ASSERT_TRUE(group) << group.error().text();
  expect_steered(**group, table);
  for (const size_t workers : {2u, 3u}) {
    const Status added = (*group)->add_member();
    ASSERT_TRUE(added) << added.error().text();
    table.resize(workers);
    ASSERT_TRUE(map->set(table));
    expect_steered(**group, table);
  }
  // Another base port, and one port less: sockets that stay are taken over.
  const uint16_t next = (*group)->ports()[1];
  auto after =
      UdpSocketGroup::open({.port = next, .source_ports = {.count = 2}}, 3, &steering, kernel_syscalls(), group->get());
  ASSERT_TRUE(after) << after.error().text();
  group->reset();
  expect_steered(**after, table);
  table.resize(1);
  ASSERT_TRUE(map->set(table));
  while ((*after)->size() > 1) (*after)->remove_last_member();
  expect_steered(**after, table);
}

TEST(SteeringMapTest, SaysWhatIsMissing) {
  const auto made = SteeringMap::create(SteeringTable(4));
  if (test::has_cap_bpf() && test::build_has_bpf()) {
    EXPECT_TRUE(made) << made.error().text();
    return;
  }
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().text(), testing::HasSubstr(test::build_has_bpf() ? "CAP_BPF" : "this build has no eBPF"));
}

}  // namespace
}  // namespace culvert::io
