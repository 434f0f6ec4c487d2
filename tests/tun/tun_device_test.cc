// Real TUN devices, in a network namespace that the test process makes for itself.
#include "tun/tun_device.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>

#include "io/uring/ring.h"
#include "src/packet/coalesce.h"
#include "src/packet/segment.h"
#include "tests/packet/coalescing.h"
#include "tests/packet/packets.h"

namespace culvert::tun {
namespace {

using io::GsoType;
using packet::test::add_to;
using packet::test::Bytes;

void write_file(const char* path, const std::string& text) {
  const io::Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
  [[maybe_unused]] const ssize_t written = ::write(fd.get(), text.data(), text.size());
}

// Moves the process to a network namespace of its own, as root or in a user namespace. Says what is missing.
std::string enter_namespace() {
  const uid_t user = ::getuid();
  if (::unshare(CLONE_NEWNET) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      return std::string("no network namespace (") + std::strerror(errno) +
             "): run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)";
    }
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
  }
  if (::access("/dev/net/tun", R_OK | W_OK) != 0)
    return "no access to /dev/net/tun: modprobe tun, chmod 666 /dev/net/tun";
  return "";
}

const std::string& missing() {
  static const std::string reason = enter_namespace();
  return reason;
}

// An address, and the interface up. Both by ioctl: the test needs no program.
void bring_up(const std::string& name, const char* address) {
  const io::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  auto* const in = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  in->sin_family = AF_INET;
  ASSERT_EQ(::inet_pton(AF_INET, address, &in->sin_addr), 1);
  ASSERT_EQ(::ioctl(fd.get(), SIOCSIFADDR, &request), 0) << std::strerror(errno);
  ASSERT_EQ(::inet_pton(AF_INET, "255.255.255.0", &in->sin_addr), 1);
  ASSERT_EQ(::ioctl(fd.get(), SIOCSIFNETMASK, &request), 0) << std::strerror(errno);
  ASSERT_EQ(::ioctl(fd.get(), SIOCGIFFLAGS, &request), 0);
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  ASSERT_EQ(::ioctl(fd.get(), SIOCSIFFLAGS, &request), 0) << std::strerror(errno);
}

// An address of a /64 besides.
void add_ipv6_address(const std::string& name, const char* address) {
  const io::Fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  struct {
    in6_addr address;
    uint32_t prefix_length;
    int interface;
  } request{{}, 64, static_cast<int>(::if_nametoindex(name.c_str()))};
  ASSERT_EQ(::inet_pton(AF_INET6, address, &request.address), 1);
  ASSERT_EQ(::ioctl(fd.get(), SIOCSIFADDR, &request), 0) << std::strerror(errno);
}

sockaddr_in endpoint(const char* address, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  ::inet_pton(AF_INET, address, &in.sin_addr);
  return in;
}

class TunDeviceTest : public testing::TestWithParam<io::Engine> {
 protected:
  void SetUp() override {
    if (!missing().empty()) GTEST_SKIP() << missing();
    if (const auto ring = io::Ring::open(); GetParam() == io::Engine::io_uring && !ring)
      GTEST_SKIP() << ring.error().text();
    static int made = 0;
    name = "tt" + std::to_string(::getpid() % 100000) + "x" + std::to_string(made++);
  }

  std::unique_ptr<TunDevice> make(TunOptions options = {}) {
    options.engine = GetParam();
    auto device = TunDevice::create(name, options);
    EXPECT_TRUE(device) << device.error().text();
    return device ? std::move(*device) : nullptr;
  }

  // Reads until there is a packet that `wanted` likes; nullptr after two seconds.
  template <typename Wanted>
  const io::Superpacket* read_until(TunQueue& queue, Wanted wanted) {
    for (int tries = 0; tries < 40; ++tries) {
      pollfd readable{queue.fd(), POLLIN, 0};
      ::poll(&readable, 1, 50);
      EXPECT_EQ(queue.read(batch), io::ReadOutcome::ok);
      for (const io::Superpacket& packet : std::span(batch.packets).first(batch.count))
        if (packet.bytes[0] >> 4 == 4 && wanted(packet)) return &packet;
    }
    return nullptr;
  }

  std::string name;
  io::PlainBatch batch;
};

std::vector<Bytes> cut(const io::Superpacket& packet) {
  packet::SegmentPlan plan;
  EXPECT_EQ(plan.plan(packet), packet::SegmentError::none);
  std::vector<Bytes> segments(plan.count());
  for (uint32_t i = 0; i < plan.count(); ++i) {
    segments[i].resize(plan.length(i));
    plan.write(i, segments[i].data());
  }
  return segments;
}

TEST_P(TunDeviceTest, HasTheNameAskedForAndAVirtioHeader) {
  const auto device = make();
  ASSERT_TRUE(device);
  EXPECT_EQ(device->name(), name);
  EXPECT_TRUE(device->queue(0).has_vnet_header());
}

TEST_P(TunDeviceTest, HasALongTransmitQueue) {
  const auto device = make();
  ASSERT_TRUE(device);
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  const io::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::ioctl(fd.get(), SIOCGIFTXQLEN, &request), 0);
  const int length = request.ifr_qlen;
  if (::ioctl(fd.get(), SIOCSIFTXQLEN, &request) != 0)
    GTEST_SKIP() << "a user namespace may not set the transmit queue length: run as root";
  EXPECT_GE(length, 1000);
}

TEST_P(TunDeviceTest, LetsTheKernelNumberAName) {
  name = "ttn%d";
  const auto device = make();
  ASSERT_TRUE(device);
  EXPECT_THAT(device->name(), testing::MatchesRegex("ttn[0-9]+"));
}

TEST_P(TunDeviceTest, ProbesOffloadsAndFindsThoseOfTcp) {
  const auto device = make();
  ASSERT_TRUE(device);
  const io::InnerOffloads offloads = device->queue(0).offloads();
  EXPECT_TRUE(offloads.checksum);
  EXPECT_TRUE(offloads.tcp4);
  EXPECT_TRUE(offloads.tcp6);
  EXPECT_EQ(offloads.udp4, offloads.udp6);
}

TEST_P(TunDeviceTest, LeavesOutWhatIsSwitchedOff) {
  const bool has_uso = make()->queue(0).offloads().udp4;
  TunOptions options;
  options.uso = false;
  EXPECT_FALSE(make(options)->queue(0).offloads().udp4);
  EXPECT_TRUE(make(options)->queue(0).offloads().tcp6);
  options = {};
  options.tso = false;
  EXPECT_FALSE(make(options)->queue(0).offloads().tcp4);
  EXPECT_EQ(make(options)->queue(0).offloads().udp6, has_uso);
  options.uso = false;
  EXPECT_FALSE(make(options)->queue(0).offloads().udp4);
  EXPECT_TRUE(make(options)->queue(0).offloads().checksum);
  options = {};
  options.join = false;
  EXPECT_FALSE(make(options)->queue(0).offloads().tcp4);
  EXPECT_FALSE(make(options)->queue(0).offloads().udp4);
  EXPECT_TRUE(make(options)->queue(0).offloads().checksum);
  options.vnet = false;
  const auto device = make(options);
  EXPECT_FALSE(device->queue(0).has_vnet_header());
  EXPECT_FALSE(device->queue(0).offloads().checksum);
}

TEST_P(TunDeviceTest, SetsAndReadsTheMtu) {
  const auto device = make();
  ASSERT_TRUE(device);
  ASSERT_TRUE(device->set_mtu(1420));
  const io::Result<int> mtu = device->mtu();
  ASSERT_TRUE(mtu);
  EXPECT_EQ(*mtu, 1420);
  EXPECT_EQ(device->set_mtu(7).error().number, EINVAL);
}

TEST_P(TunDeviceTest, KnowsTheNamespaceItIsIn) {
  const auto device = make();
  ASSERT_TRUE(device);
  const io::Result<io::Fd> found = device->device_namespace_fd();
  ASSERT_TRUE(found) << found.error().text();
  struct stat a {
  }, b{};
  ASSERT_EQ(::fstat((*found).get(), &a), 0);
  ASSERT_EQ(::stat("/proc/self/ns/net", &b), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
}

TEST_P(TunDeviceTest, OpensAsManyQueuesAsAsked) {
  TunOptions options;
  options.queues = 3;
  const auto device = make(options);
  ASSERT_TRUE(device);
  EXPECT_EQ(device->queue_count(), 3u);
}

TEST_P(TunDeviceTest, SaysWhatWasWrong) {
  EXPECT_EQ(TunDevice::create("", {}).error().number, EINVAL);
  EXPECT_EQ(TunDevice::create("a-name-too-long-for-linux", {}).error().number, EINVAL);
  TunOptions options;
  options.queues = 0;
  EXPECT_EQ(TunDevice::create(name, options).error().number, EINVAL);
  const auto device = make();
  const auto second = TunDevice::create(name, {});
  EXPECT_EQ(second.error().number, EBUSY);
  EXPECT_THAT(second.error().text(), testing::HasSubstr(name));
}

TEST_P(TunDeviceTest, SaysThatAnInterfaceOfThatNameIsNoTunDevice) {
  const auto refused = TunDevice::create("lo", {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text(),
            "create TUN device lo: an interface lo exists and is no TUN device; choose another name: File exists");
}

TEST_P(TunDeviceTest, SaysThatAnotherProcessHasTheDevice) {
  const auto device = make();
  const auto refused = TunDevice::create(name, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text(), "create TUN device " + name +
                                        ": another process has it; end that process or choose another name: "
                                        "Device or resource busy");
}

TEST_P(TunDeviceTest, AdoptsADescriptorWithOrWithoutVirtioHeader) {
  for (const int flags : {IFF_TUN | IFF_NO_PI, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR}) {
    io::Fd fd(::open("/dev/net/tun", O_RDWR));
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = static_cast<short>(flags);
    ASSERT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
    auto device = TunDevice::adopt(std::move(fd), {.engine = GetParam()});
    ASSERT_TRUE(device) << device.error().text();
    EXPECT_EQ((*device)->name(), name);
    const bool vnet_header = (flags & IFF_VNET_HDR) != 0;
    EXPECT_EQ((*device)->queue(0).has_vnet_header(), vnet_header);
    EXPECT_EQ((*device)->queue(0).offloads().tcp4, vnet_header);
    EXPECT_EQ((*device)->queue(0).read(batch), io::ReadOutcome::ok) << "and does not wait";
    EXPECT_EQ(batch.count, 0u);
  }
}

TEST_P(TunDeviceTest, AdoptsNothingButAttachedTunDescriptors) {
  EXPECT_EQ(TunDevice::adopt(io::Fd(::open("/dev/null", O_RDWR)), {}).error().number, EBADFD);
  EXPECT_EQ(TunDevice::adopt(io::Fd(::open("/dev/net/tun", O_RDWR)), {}).error().number, EBADFD);
  io::Fd fd(::open("/dev/net/tun", O_RDWR));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  ASSERT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
  EXPECT_EQ(TunDevice::adopt(std::move(fd), {}).error().number, EINVAL);
}

TEST_P(TunDeviceTest, DropsAndCountsWritesWhileItIsDown) {
  const auto device = make();
  ASSERT_TRUE(device);
  Bytes bytes = packet::test::make_packet(packet::test::PacketSpec{});
  const iovec part{bytes.data(), bytes.size()};
  io::GatheredPacket packet;
  packet.parts = {&part, 1};
  packet.length = static_cast<uint32_t>(bytes.size());
  EXPECT_EQ(device->queue(0).write({&packet, 1}), 0u);
  EXPECT_EQ(device->queue(0).counters().write_down.get(), 1u);
}

// RTM_DELLINK, as `ip link delete` sends it.
void delete_device(const std::string& name) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = static_cast<int>(::if_nametoindex(name.c_str()));
  const io::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  ASSERT_EQ(::send(fd.get(), &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
  struct {
    nlmsghdr header;
    nlmsgerr outcome;
    char more[256];
  } answer{};
  ASSERT_GT(::recv(fd.get(), &answer, sizeof answer, 0), 0);
  ASSERT_EQ(answer.outcome.error, 0);
}

TEST_P(TunDeviceTest, SaysThatItIsGoneOnceSomebodyDeletedIt) {
  const auto device = make();
  ASSERT_TRUE(device);
  TunQueue& queue = device->queue(0);
  delete_device(name);
  pollfd readable{queue.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 2000), 1) << "the event loop has to wake up for it";
  EXPECT_EQ(queue.read(batch), io::ReadOutcome::gone);
  Bytes bytes = packet::test::make_packet(packet::test::PacketSpec{});
  const iovec part{bytes.data(), bytes.size()};
  io::GatheredPacket packet;
  packet.parts = {&part, 1};
  packet.length = static_cast<uint32_t>(bytes.size());
  EXPECT_EQ(queue.write({&packet, 1}), 0u);
  EXPECT_EQ(device->name(), name) << "the last name known";
  EXPECT_FALSE(device->mtu());
}

TEST_P(TunDeviceTest, ReadsAUdpSuperpacketOrItsSegmentsWithRightChecksums) {
  const auto device = make();
  ASSERT_TRUE(device);
  ASSERT_TRUE(device->set_mtu(1420));
  bring_up(name, "10.77.1.1");
  const io::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int segment = 1000;
  ASSERT_EQ(::setsockopt(fd.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment), 0);
  const sockaddr_in to = endpoint("10.77.1.2", 4000);
  const Bytes payload(10500, 0x5a);
  ASSERT_EQ(::sendto(fd.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to),
            static_cast<ssize_t>(payload.size()));
  size_t bytes = 0, packets_read = 0;
  while (bytes < payload.size()) {
    const io::Superpacket* const packet =
        read_until(device->queue(0), [](const io::Superpacket& p) { return p.bytes[9] == 17; });
    ASSERT_TRUE(packet);
    packets_read++;
    for (const Bytes& one : cut(*packet)) {
      EXPECT_TRUE(packet::test::checksums_are_right(one));
      EXPECT_LE(one.size(), 1028u);
      bytes += one.size() - 28;
    }
    if (packet->offload.gso == GsoType::none) break;  // a kernel without USO: the others are like it
  }
  if (device->queue(0).offloads().udp4) {
    EXPECT_EQ(packets_read, 1u);
    EXPECT_EQ(bytes, payload.size());
  }
}

// A TCP connection between two devices of this namespace would be short-circuited by the kernel, so the test
// is the far host: it answers the SYN by hand.
class TcpPeer {
 public:
  explicit TcpPeer(TunDevice& device) : queue_(device.queue(0)) {}

  // Answers a SYN of the kernel's socket.
  void accept(const io::Superpacket& syn) {
    const std::span<const uint8_t> bytes(syn.bytes, syn.length);
    spec_.source_port = static_cast<uint16_t>(packet::test::get16(bytes, 22));
    spec_.destination_port = static_cast<uint16_t>(packet::test::get16(bytes, 20));
    spec_.sequence = 1000;
    spec_.ack = packet::test::get32(bytes, 24) + 1;
    spec_.flags = 0x12;
    spec_.window = 65535;
    spec_.payload_bytes = 0;
    spec_.tcp_options = {2, 4, 0x05, 0x50, 1, 3, 3, 7};  // MSS 1360, window scale 7
    send({packet()});
    spec_.sequence++;
    spec_.tcp_options.clear();
    spec_.flags = 0x10;
  }

  // A train of `count` packets, coalesced before it is written. Returns how many packets that made.
  size_t send_train(size_t count, size_t payload_bytes) {
    std::vector<Bytes> train;
    spec_.payload_bytes = payload_bytes;
    for (size_t i = 0; i < count; ++i) {
      train.push_back(packet());
      spec_.sequence += static_cast<uint32_t>(payload_bytes);
      spec_.id++;
    }
    return send(train);
  }

 private:
  // From 10.77.2.2 to 10.77.2.1.
  Bytes packet() const {
    Bytes bytes = packet::test::make_packet(spec_);
    packet::test::put32(bytes, 12, 0x0a4d0202);
    packet::test::put32(bytes, 16, 0x0a4d0201);
    packet::test::finish_checksums(bytes, 20, true);
    return bytes;
  }

  size_t send(std::vector<Bytes> train) {
    packet::Coalescer coalescer;
    for (Bytes& one : train) add_to(coalescer, one, queue_.offloads());
    const auto gathered = coalescer.finish();
    EXPECT_EQ(queue_.write(gathered), gathered.size());
    return gathered.size();
  }

  TunQueue& queue_;
  packet::test::PacketSpec spec_;
};

TEST_P(TunDeviceTest, CarriesTcpSuperpacketsBothWays) {
  const auto device = make();
  ASSERT_TRUE(device);
  ASSERT_TRUE(device->set_mtu(1420));
  bring_up(name, "10.77.2.1");
  TunQueue& queue = device->queue(0);
  const io::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_in to = endpoint("10.77.2.2", 4000);
  ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  const io::Superpacket* const syn =
      read_until(queue, [](const io::Superpacket& p) { return p.bytes[9] == 6 && p.bytes[33] == 2; });
  ASSERT_TRUE(syn);
  TcpPeer peer(*device);
  peer.accept(*syn);

  // From the kernel: one write of several segments comes as one superpacket.
  const Bytes payload(10000, 0x33);
  pollfd writable{fd.get(), POLLOUT, 0};
  ASSERT_EQ(::poll(&writable, 1, 2000), 1);
  ASSERT_EQ(::send(fd.get(), payload.data(), payload.size(), 0), static_cast<ssize_t>(payload.size()));
  const io::Superpacket* const super =
      read_until(queue, [](const io::Superpacket& p) { return p.offload.gso == GsoType::tcp; });
  ASSERT_TRUE(super) << "TSO was agreed on, so a superpacket has to come";
  const std::vector<Bytes> segments = cut(*super);
  EXPECT_GT(segments.size(), 3u);
  for (const Bytes& segment : segments) {
    EXPECT_TRUE(packet::test::checksums_are_right(segment));
    EXPECT_LE(segment.size(), 1420u);
  }

  // To the kernel: a coalesced train is taken and delivered.
  EXPECT_EQ(peer.send_train(30, 1300), 1u);
  EXPECT_TRUE(queue.offloads().tcp4) << "the kernel did not refuse it";
  size_t received = 0;
  Bytes buffer(65536);
  while (received < 30 * 1300) {
    pollfd readable{fd.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, 2000), 1) << received << " bytes arrived";
    const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    ASSERT_GT(got, 0) << std::strerror(errno);
    received += static_cast<size_t>(got);
  }
  EXPECT_EQ(received, 30u * 1300);
  EXPECT_EQ(queue.counters().write_dropped.get(), 0u);
}

// Writes a coalesced train of 64 datagrams from host 2 to host 1 of the device's network, and receives them.
void deliver_datagrams(TunQueue& queue, const sockaddr* at, socklen_t at_bytes, bool v6) {
  const io::Fd fd(::socket(at->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // The kernel readies a v6 address in a work queue of its own.
  int bound = ::bind(fd.get(), at, at_bytes);
  for (int tries = 0; bound != 0 && errno == EADDRNOTAVAIL && tries < 200; ++tries) {
    ::usleep(10'000);
    bound = ::bind(fd.get(), at, at_bytes);
  }
  ASSERT_EQ(bound, 0) << std::strerror(errno);
  packet::test::PacketSpec spec;
  spec.tcp = false;
  spec.v6 = v6;
  spec.destination_port = 4000;
  std::vector<Bytes> train;
  for (int i = 0; i < 64; ++i) {
    spec.payload_bytes = i == 63 ? 30 : 500;
    Bytes& packet = train.emplace_back(packet::test::make_packet(spec));
    if (v6) {
      packet[23] = 2;
      packet[39] = 1;
    } else {
      packet::test::put32(packet, 12, 0x0a4d0302);
      packet::test::put32(packet, 16, 0x0a4d0301);
    }
    packet::test::finish_checksums(packet, v6 ? 40 : 20, false);
    spec.id++;
  }
  packet::Coalescer coalescer;
  for (Bytes& one : train) add_to(coalescer, one, queue.offloads());
  const auto gathered = coalescer.finish();
  EXPECT_EQ(gathered.size(), queue.offloads().udp4 ? 1u : 64u);
  EXPECT_EQ(queue.write(gathered), gathered.size());
  EXPECT_EQ(queue.counters().offload_refusals.get(), 0u);
  Bytes buffer(2000);
  for (int i = 0; i < 64; ++i) {
    pollfd readable{fd.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, 5000), 1) << i << " datagrams arrived";
    EXPECT_EQ(::recv(fd.get(), buffer.data(), buffer.size(), 0), i == 63 ? 30 : 500);
  }
}

TEST_P(TunDeviceTest, DeliversACoalescedTrainOfDatagramsOverV4) {
  const auto device = make();
  ASSERT_TRUE(device);
  bring_up(name, "10.77.3.1");
  const sockaddr_in at = endpoint("10.77.3.1", 4000);
  deliver_datagrams(device->queue(0), reinterpret_cast<const sockaddr*>(&at), sizeof at, false);
}

TEST_P(TunDeviceTest, DeliversACoalescedTrainOfDatagramsOverV6) {
  const auto device = make();
  ASSERT_TRUE(device);
  bring_up(name, "10.77.4.1");
  add_ipv6_address(name, "fd00::1");
  sockaddr_in6 at{};
  at.sin6_family = AF_INET6;
  at.sin6_port = htons(4000);
  ::inet_pton(AF_INET6, "fd00::1", &at.sin6_addr);
  deliver_datagrams(device->queue(0), reinterpret_cast<const sockaddr*>(&at), sizeof at, true);
}

TEST(KernelRelease, DecidesWhetherUdpSuperpacketsAreWritten) {
  const std::map<std::string, bool> releases = {
      {"6.1.0-18-amd64", false}, {"6.2.0", false},     {"6.6.25", false}, {"6.6.26-1", true}, {"6.7.12", false},
      {"6.8.4-generic", false},  {"6.8.5", true},      {"6.8.12", true},  {"6.12-rc1", true}, {"6.18.44-fc", true},
      {"7.0.0", true},           {"5.15.0-99", false}, {"", false},       {"x.y", false}};
  for (const auto& [release, safe] : releases) {
    const io::KernelVersion version = io::parse_kernel_version(release).value_or(io::KernelVersion{});
    EXPECT_EQ(udp_superpackets_are_safe(version), safe) << release;
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, TunDeviceTest, testing::Values(io::Engine::epoll, io::Engine::io_uring),
                         [](const auto& engine) { return std::string(engine_name(engine.param)); });

}  // namespace
}  // namespace culvert::tun
