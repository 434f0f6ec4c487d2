// Devices of several queues, in a network namespace of the test's own: which queue the kernel puts a packet into, and
// what becomes of flows while queues come and go.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "src/packet/ip_header.h"
#include "tests/cap_bpf.h"
#include "tests/own_namespace.h"
#include "tun/tun_device.h"

namespace culvert::tun {
namespace {

bool own_namespace() {
  static const bool entered = test::enter_own_namespaces(CLONE_NEWNET) && ::access("/dev/net/tun", R_OK | W_OK) == 0;
  return entered;
}

class TunQueuesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!own_namespace()) GTEST_SKIP() << "no network namespace or no /dev/net/tun: run as root";
  }

  void make(TunOptions options = {}) {
    auto made = TunDevice::create("tq0", options);
    ASSERT_TRUE(made) << made.error().text();
    device = std::move(*made);
  }

  // With addresses, so that the host sends through it.
  void bring_up() {
    ASSERT_EQ(test::run("ip address add 10.88.0.1/24 dev tq0 && ip address add fd88::1/64 dev tq0 nodad && "
                        "ip link set tq0 mtu 1500 up"),
              0);
  }

  void steer(const io::SteeringTable& table) {
    auto made = io::SteeringMap::create(table);
    ASSERT_TRUE(made) << made.error().text();
    map = std::move(*made);
    const io::Status steered = device->steer(*map);
    ASSERT_TRUE(steered) << steered.error().text();
  }

  // The queue that the next packet from UDP port `port`, or of another protocol, is put into; packets are counted.
  std::optional<size_t> queue_of(uint8_t protocol, uint16_t port, size_t packets = 1) {
    std::optional<size_t> found;
    for (int turn = 0; turn < 2000 && packets != 0; ++turn) {
      for (size_t i = 0; i < device->queue_count() && packets != 0; ++i) {
        EXPECT_EQ(device->queue(i).read(batch), io::ReadOutcome::ok);
        for (const io::Superpacket& packet : std::span(batch.packets).first(batch.count)) {
          if (!matches(packet, protocol, port)) continue;
          EXPECT_EQ(found.value_or(i), i) << "a flow is torn";
          found = i;
          --packets;
        }
      }
      if (packets != 0) wait();
    }
    EXPECT_EQ(packets, 0u) << "packets are missing";
    return found;
  }

  std::unique_ptr<TunDevice> device;
  std::unique_ptr<io::SteeringMap> map;

 private:
  void wait() {
    std::vector<pollfd> waiting;
    for (size_t i = 0; i < device->queue_count(); ++i)
      for (const int fd : device->queue(i).poll_fds()) waiting.push_back({fd, POLLIN, 0});
    ::poll(waiting.data(), waiting.size(), 10);
  }

  static bool matches(const io::Superpacket& packet, uint8_t protocol, uint16_t port) {
    packet::IpHeader header;
    if (packet::parse_ip({packet.bytes, packet.length}, header) != packet::IpError::none) return false;
    uint8_t next = header.protocol;
    uint32_t offset = header.header_length;
    bool first = !header.is_later_fragment();
    if (next == IPPROTO_FRAGMENT) {
      first = (packet::load_be16(packet.bytes + offset + 2) & 0xfff8) == 0;
      packet::skip_extension_header(packet.bytes, header.total_length, next, offset);
    }
    return next == protocol && (!first || port == 0 || packet::load_be16(packet.bytes + offset) == port);
  }

  io::PlainBatch batch;
};

// A host's UDP flow to an address behind the device.
class Flow {
 public:
  explicit Flow(bool v6, uint16_t to_port = 4000)
      : fd_(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    if (v6) {
      sockaddr_in6 to{};
      to.sin6_family = AF_INET6;
      to.sin6_port = htons(to_port);
      ::inet_pton(AF_INET6, "fd88::2", &to.sin6_addr);
      EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << std::strerror(errno);
    } else {
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_port = htons(to_port);
      ::inet_pton(AF_INET, "10.88.0.2", &to.sin_addr);
      EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << std::strerror(errno);
    }
  }

  uint16_t port() const {
    sockaddr_in6 own{};
    socklen_t length = sizeof own;
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&own), &length), 0);
    return ntohs(own.sin6_port);  // where that of IPv4 is, too
  }
  void send(size_t bytes, int segment_size = 0) const {
    const std::vector<uint8_t> payload(bytes);
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_UDP, UDP_SEGMENT, &segment_size, sizeof segment_size), 0);
    EXPECT_EQ(::send(fd_.get(), payload.data(), payload.size(), 0), static_cast<ssize_t>(bytes))
        << std::strerror(errno);
  }
  // As its first bytes.
  void send_number(uint32_t number, size_t bytes) const {
    std::vector<uint8_t> payload(bytes);
    std::memcpy(payload.data(), &number, sizeof number);
    EXPECT_EQ(::send(fd_.get(), payload.data(), payload.size(), 0), static_cast<ssize_t>(bytes));
  }

 private:
  io::Fd fd_;
};

TEST_F(TunQueuesTest, QueuesFollowTheTableAndFlowsStayWhenItGrows) {
  NEEDS_CAP_BPF();
  make();
  bring_up();
  io::SteeringTable table(1);
  steer(table);
  std::vector<Flow> flows;
  for (int i = 0; i < 40; ++i) flows.emplace_back(i % 2 == 0);
  std::map<const Flow*, size_t> before;
  for (const size_t workers : {1u, 2u, 4u, 3u, 1u}) {
    while (device->queue_count() < workers) {
      const auto added = device->add_queue();
      ASSERT_TRUE(added) << added.error().text();
    }
    const io::SteeringTable old = table;
    table.resize(workers);
    ASSERT_TRUE(map->set(table));
    while (device->queue_count() > workers) device->remove_last_queue();
    const io::SlotMoves moves = io::moves_between(old, table);
    std::map<size_t, int> used;
    for (const Flow& flow : flows) {
      flow.send(100);
      const auto queue = queue_of(IPPROTO_UDP, flow.port());
      ASSERT_TRUE(queue);
      ++used[*queue];
      const auto last = before.find(&flow);
      if (last != before.end() && last->second != *queue)
        EXPECT_TRUE(moves.losing[last->second] && moves.gaining[*queue]) << last->second << " to " << *queue;
      before[&flow] = *queue;
    }
    EXPECT_EQ(used.size(), workers) << "each queue has some of 40 flows";
  }
}

TEST_F(TunQueuesTest, ASuperpacketGoesWhereItsSegmentsGo) {
  NEEDS_CAP_BPF();
  make({.queues = 4});
  bring_up();
  steer(io::SteeringTable(4));
  for (int i = 0; i < 16; ++i) {
    const Flow flow(i % 2 == 0);
    flow.send(1000);
    const auto single = queue_of(IPPROTO_UDP, flow.port());
    const bool whole = device->queue(0).offloads().udp4;
    flow.send(10'000, 1000);
    EXPECT_EQ(queue_of(IPPROTO_UDP, flow.port(), whole ? 1 : 10), single);
  }
}

TEST_F(TunQueuesTest, FragmentsStayTogether) {
  NEEDS_CAP_BPF();
  make({.queues = 4});
  bring_up();
  steer(io::SteeringTable(4));
  for (const bool v6 : {false, true}) {
    std::optional<size_t> all;
    for (int i = 0; i < 8; ++i) {
      const Flow flow(v6);
      flow.send(5000);
      const auto queue = queue_of(IPPROTO_UDP, flow.port(), 4);
      EXPECT_EQ(all.value_or(queue.value_or(99)), queue) << "by their addresses alone";
      all = queue;
    }
  }
}

TEST_F(TunQueuesTest, PingsStayTogether) {
  NEEDS_CAP_BPF();
  make({.queues = 4});
  bring_up();
  steer(io::SteeringTable(4));
  const io::Fd fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
  ASSERT_TRUE(fd) << std::strerror(errno);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  ::inet_pton(AF_INET, "10.88.0.2", &to.sin_addr);
  std::map<size_t, int> used;
  for (uint8_t id = 0; id < 32; ++id) {
    std::optional<size_t> first;
    for (uint8_t sequence = 0; sequence < 3; ++sequence) {
      const std::array<uint8_t, 16> echo{8, 0, 0, 0, 0, id, 0, sequence};
      ASSERT_EQ(::sendto(fd.get(), echo.data(), echo.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to), 16);
      const auto queue = queue_of(IPPROTO_ICMP, 0);
      EXPECT_EQ(first.value_or(queue.value_or(99)), queue);
      first = queue;
    }
    ++used[first.value_or(99)];
  }
  EXPECT_EQ(used.size(), 4u);
}

TEST_F(TunQueuesTest, ANewQueueHasTheOffloadsOfTheFirstAndDisturbsNobody) {
  make({.uso = false});
  bring_up();
  const io::InnerOffloads first = device->queue(0).offloads();
  const auto added = device->add_queue();
  ASSERT_TRUE(added) << added.error().text();
  const TunQueue& last = device->queue(device->queue_count() - 1);
  EXPECT_EQ(last.offloads().tcp4, first.tcp4);
  EXPECT_EQ(last.offloads().udp4, first.udp4);
  EXPECT_EQ(last.offloads().checksum, first.checksum);
  EXPECT_EQ(last.has_vnet_header(), device->queue(0).has_vnet_header());
  EXPECT_EQ(test::output_of("ip -statistics -json link show tq0 | grep -o '\"rx\":{[^}]*\"packets\":0,'").empty(),
            false)
      << "no probe was written";
  const Flow flow(false);
  flow.send(100);
  EXPECT_TRUE(queue_of(IPPROTO_UDP, flow.port()));
}

TEST_F(TunQueuesTest, GrowsUnderAnotherNameAndInAnotherNamespace) {
  make();
  ASSERT_EQ(test::run("ip link set tq0 name tq1"), 0);
  auto added = device->add_queue();
  EXPECT_TRUE(added) << added.error().text();
  EXPECT_EQ(device->name(), "tq1");
  const test::OtherNamespace other;
  if (!other.ready()) GTEST_SKIP() << "no other network namespace: run as root";
  ASSERT_EQ(test::run("ip link set tq1 netns " + std::to_string(other.process())), 0);
  added = device->add_queue();
  EXPECT_TRUE(added) << added.error().text();
  EXPECT_EQ(device->queue_count(), 3u);
  EXPECT_EQ(::if_nametoindex("tq1"), 0u) << "and made no device of that name here";
}

// Flows that come in bursts and pauses go from the queue of sparse flows to that of bulk and back.
TEST_F(TunQueuesTest, LanesKeepEveryFlowInOrder) {
  NEEDS_CAP_BPF();
  make({.lanes = true});
  bring_up();
  steer(io::SteeringTable(1));
  TunQueue& queue = device->queue(0);
  ASSERT_EQ(queue.poll_fds().size(), 2u);
  std::vector<Flow> flows;
  for (int i = 0; i < 6; ++i) flows.emplace_back(i % 2 == 0);
  std::map<uint16_t, uint32_t> expected;
  std::atomic<uint32_t> sent{0}, received{0};
  constexpr uint32_t kPackets = 12'000;
  std::thread sender([&] {
    std::mt19937 random(1);
    std::vector<uint32_t> numbers(flows.size());
    while (sent < kPackets) {
      const size_t at = random() % flows.size();
      const uint32_t burst = at < 2 ? 1 + random() % 60 : 1;
      for (uint32_t i = 0; i < burst; ++i) flows[at].send_number(numbers[at]++, at < 2 ? 1200 : 20);
      sent += burst;
      if (random() % 200 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(25));
      while (sent - received > 400) std::this_thread::yield();  // or the device drops
    }
  });
  io::PlainBatch read;
  size_t bulk = 0;
  while (received < sent || sent < kPackets) {
    EXPECT_EQ(queue.read(read), io::ReadOutcome::ok);
    for (const io::Superpacket& packet : std::span(read.packets).first(read.count)) {
      packet::IpHeader header;
      if (packet::parse_ip({packet.bytes, packet.length}, header) != packet::IpError::none ||
          header.protocol != IPPROTO_UDP)
        continue;  // what hosts say to new neighbours
      uint32_t number = 0;
      std::memcpy(&number, packet.bytes + header.header_length + 8, sizeof number);
      EXPECT_EQ(number, expected[packet::load_be16(packet.bytes + header.header_length)]++);
      bulk += packet.waited_us != 0;
      ++received;
    }
    queue.release(read);
  }
  sender.join();
  EXPECT_GT(bulk, 0u);
  EXPECT_LT(bulk, received);
}

TEST_F(TunQueuesTest, EveryWorkerHasALaneWhenItComes) {
  NEEDS_CAP_BPF();
  make({.lanes = true});
  bring_up();
  io::SteeringTable table(1);
  steer(table);
  std::vector<Flow> flows;
  for (int i = 0; i < 40; ++i) flows.emplace_back(i % 2 == 0);
  for (const size_t workers : {1u, 3u, 2u, 1u}) {
    while (device->queue_count() < workers) {
      const auto added = device->add_queue();
      ASSERT_TRUE(added) << added.error().text();
    }
    table.resize(workers);
    ASSERT_TRUE(map->set(table));
    while (device->queue_count() > workers) device->remove_last_queue();
    for (const Flow& flow : flows) {
      flow.send(100);
      EXPECT_TRUE(queue_of(IPPROTO_UDP, flow.port()));
    }
  }
}

// A device that stays when its descriptors are closed.
void make_persistent(int flags, bool stays = true) {
  const io::Fd fd = test::make_tun("tq0", flags);
  ASSERT_TRUE(fd) << std::strerror(errno);
  ASSERT_EQ(::ioctl(fd.get(), TUNSETPERSIST, stays ? 1 : 0), 0);
}

TEST_F(TunQueuesTest, TakesAPersistentDeviceAsItIs) {
  for (const int header : {0, IFF_VNET_HDR})
    for (const int many : {0, IFF_MULTI_QUEUE}) {
      const int flags = IFF_TUN | IFF_NO_PI | header | many;
      make_persistent(flags);
      make({.queues = 2});
      EXPECT_EQ(device->queue_count(), many != 0 ? 2u : 1u);
      EXPECT_EQ(device->can_grow(), many != 0);
      EXPECT_TRUE(device->queue(0).has_vnet_header()) << "its first owner now";
      if (many == 0) EXPECT_EQ(device->add_queue().error().number, EOPNOTSUPP);
      device.reset();
      make_persistent(flags, false);
    }
}

TEST_F(TunQueuesTest, DoesNotJoinTheQueuesOfAnotherProcess) {
  for (const bool persistent : {false, true}) {
    if (persistent) make_persistent(IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE);
    make({.queues = 2});
    const auto second = TunDevice::create("tq0", {});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().number, EBUSY);
    device.reset();
    if (persistent) make_persistent(IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE, false);
  }
}

TEST_F(TunQueuesTest, OneQueueIsADeviceForOneQueueIfAskedFor) {
  make({.multi_queue = false});
  EXPECT_FALSE(device->can_grow());
  EXPECT_EQ(device->add_queue().error().number, EOPNOTSUPP);
  EXPECT_EQ(test::output_of("ip -details link show tq0").find("multi_queue"), std::string::npos);
}

TEST_F(TunQueuesTest, AnAdoptedDeviceDoesNotGrow) {
  auto adopted = TunDevice::adopt(test::make_tun("tq0", IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR), {});
  ASSERT_TRUE(adopted);
  EXPECT_FALSE((*adopted)->can_grow());
}

}  // namespace
}  // namespace culvert::tun
