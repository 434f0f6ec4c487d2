// The programs that choose a socket, in the kernel that runs the tests.
#include "io/udp_steering.h"

#include <gmock/gmock.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "io/udp_message.h"
#include "tests/io/outgoing.h"

namespace culvert::io {
namespace {

constexpr uint32_t kRandomBits = 0xabcdef;

// Without it the kernel refuses every BPF program; with it nothing here may be refused.
bool has_cap_bpf() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  constexpr unsigned kCapBpf = 39, kCapSysAdmin = 21;
  return ::syscall(SYS_capget, &header, sets) == 0 &&
         ((sets[1].effective >> (kCapBpf - 32) & 1) != 0 || (sets[0].effective >> kCapSysAdmin & 1) != 0);
}

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

Fd udp_socket(Family family) {
  Fd fd(::socket(family == Family::v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (family == Family::v6) EXPECT_EQ(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), 0);
  EXPECT_EQ(::setsockopt(fd.get(), SOL_UDP, UDP_GRO, &on, sizeof on), 0);
  return fd;
}

int bind_loopback(int fd, Family family, uint16_t port) {
  SocketAddress address{};
  const Endpoint at = endpoint((family == Family::v4 ? "127.0.0.1:" : "[::1]:") + std::to_string(port == 0 ? 1 : port));
  const socklen_t length = to_socket_address(at.remote, port, 0, address);
  return ::bind(fd, &address.any, length) == 0 ? 0 : errno;
}

uint16_t port_of(int fd) {
  SocketAddress address{};
  socklen_t length = sizeof address;
  EXPECT_EQ(::getsockname(fd, &address.any, &length), 0);
  return remote_of(address).port;
}

void reuse(const Fd& fd) {
  const int on = 1;
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
}

// A group of sockets as io/udp_socket_group.h opens it, without all else that it does.
class Group {
 public:
  Group(SocketSteering& steering, Family family, size_t members) : steering_(steering), family_(family) {
    sockets_.push_back(udp_socket(family));
    first_ = sockets_[0].get();
    if (Status prepared = steering.prepare(family, first_, members); !prepared) {
      ADD_FAILURE() << prepared.error().text();
      return;
    }
    EXPECT_EQ(bind_loopback(first_, family, 0), 0);
    port_ = port_of(first_);
    reuse(sockets_[0]);
    while (sockets_.size() < members) sockets_.push_back(another());
    place();
  }
  ~Group() { steering_.forget(first_); }

  Fd another() const {
    Fd fd = udp_socket(family_);
    reuse(fd);
    EXPECT_EQ(bind_loopback(fd.get(), family_, port_), 0);
    return fd;
  }
  Status try_to_place() {
    std::vector<int> fds;
    for (const Fd& fd : sockets_) fds.push_back(fd.get());
    return steering_.place(family_, port_, fds);
  }
  void place() {
    const Status placed = try_to_place();
    EXPECT_TRUE(placed) << placed.error().text();
  }

  // Which member gets the next datagram; the number of members when none does.
  size_t receiver(size_t datagrams = 1) {
    std::vector<pollfd> waiting;
    for (const Fd& fd : sockets_) waiting.push_back({fd.get(), POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), 20'000) <= 0) return sockets_.size();
    for (size_t i = 0; i < sockets_.size(); ++i) {
      Bytes bytes(65536);
      if ((waiting[i].revents & POLLIN) == 0) continue;
      for (size_t got = 0; got < datagrams; ++got)
        if (::recv(sockets_[i].get(), bytes.data(), bytes.size(), 0) > 0 && datagrams > 1) return i;
      return i;
    }
    return sockets_.size();
  }

  uint16_t port() const { return port_; }
  Family family() const { return family_; }
  std::vector<Fd>& sockets() { return sockets_; }

 private:
  SocketSteering& steering_;
  const Family family_;
  std::vector<Fd> sockets_;
  int first_ = -1;
  uint16_t port_ = 0;
};

class Sender {
 public:
  explicit Sender(Family family) : family_(family), fd_(udp_socket(family)) {
    EXPECT_EQ(bind_loopback(fd_.get(), family, 0), 0);
  }
  // Two no-operations and an end of options, padded to `bytes`.
  void add_ipv4_options(size_t bytes) {
    const Bytes options(bytes, 1);
    EXPECT_EQ(::setsockopt(fd_.get(), IPPROTO_IP, IP_OPTIONS, options.data(), static_cast<socklen_t>(bytes)), 0);
  }
  // A header of destination options: padding of 8 bytes in all.
  void add_ipv6_extension_header() {
    const Bytes header{0, 0, 1, 4, 0, 0, 0, 0};
    EXPECT_EQ(::setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_DSTOPTS, header.data(), static_cast<socklen_t>(header.size())),
              0)
        << std::strerror(errno);
  }
  void send(const Bytes& bytes, const Group& to, uint16_t segment_size = 0) {
    SocketAddress address{};
    const Endpoint at = endpoint((family_ == Family::v4 ? "127.0.0.1:" : "[::1]:") + std::to_string(to.port()));
    const socklen_t length = to_socket_address(at.remote, at.port, 0, address);
    const int segment = segment_size;
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment), 0);
    EXPECT_EQ(::sendto(fd_.get(), bytes.data(), bytes.size(), 0, &address.any, length),
              static_cast<ssize_t>(bytes.size()));
  }
  uint16_t port() const { return port_of(fd_.get()); }

 private:
  const Family family_;
  Fd fd_;
};

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

#define NEEDS_CAP_BPF() \
  if (!has_cap_bpf()) GTEST_SKIP() << "CAP_BPF is missing: run as root"

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
  std::unique_ptr<SteeringMap> map = has_cap_bpf() ? make_map(SteeringTable(2)) : nullptr;
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

TEST(SteeringMapTest, SaysWhatIsMissing) {
  if (has_cap_bpf()) {
    EXPECT_TRUE(make_map(SteeringTable(4)));
    return;
  }
  const auto refused = SteeringMap::create(SteeringTable(4));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), testing::HasSubstr("CAP_BPF"));
}

}  // namespace
}  // namespace culvert::io
