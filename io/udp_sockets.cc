#include "io/udp_sockets.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "io/kernel_version.h"
#include "io/udp_message.h"

namespace culvert::io {
namespace {

// How often to look for a port that is free for both families. Each try is independent, and even with half of
// the ports taken 64 misses in a row do not happen.
constexpr int kPortAttempts = 64;

// How often to look for a base port that has free neighbours, and how far away a neighbour may be: this many times the
// number of ports that are wanted.
constexpr int kBaseAttempts = 8;
constexpr size_t kNeighbourhood = 4;

// UDP_GRO handed up broken trains before Linux 5.12, which cannot be probed.
bool kernel_has_sound_gro() {
  return kernel_version() >= KernelVersion{5, 12, 0};
}

bool set_option(const Syscalls& syscalls, int fd, int level, int name, int value) {
  return syscalls.setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// The forced options pass net.core.rmem_max and wmem_max, for which they need CAP_NET_ADMIN.
void set_buffer_sizes(const Syscalls& syscalls, int fd, const UdpOptions& options) {
  if (!set_option(syscalls, fd, SOL_SOCKET, SO_RCVBUFFORCE, options.receive_buffer_bytes))
    set_option(syscalls, fd, SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  if (!set_option(syscalls, fd, SOL_SOCKET, SO_SNDBUFFORCE, options.send_buffer_bytes))
    set_option(syscalls, fd, SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
}

// Asks for the local address and the traffic class of what comes in, and clears DF so that datagrams beyond
// the path MTU are fragmented, as the kernel module sends (drivers/net/wireguard/socket.c: df 0 in send4(),
// ignore_df in both).
//
// Wide: also for the local port, and to be allowed to send from any address of IPv6.
void set_ip_options(const Syscalls& syscalls, int fd, Family family, bool wide) {
  if (family == Family::v4) {
    set_option(syscalls, fd, IPPROTO_IP, IP_PKTINFO, 1);
    set_option(syscalls, fd, IPPROTO_IP, IP_RECVTOS, 1);
    set_option(syscalls, fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    if (wide) set_option(syscalls, fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
  } else {
    set_option(syscalls, fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    set_option(syscalls, fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    set_option(syscalls, fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
    if (wide) set_option(syscalls, fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
    if (wide) set_option(syscalls, fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
  }
}

Error bind_error(const std::string& family, uint16_t port) {
  const int number = errno;
  if (number != EADDRINUSE) return {number, "bind " + family + " UDP port " + std::to_string(port)};
  if (port == 0) return {number, "no " + family + " UDP port is free"};
  return {number, "UDP port " + std::to_string(port) + " is taken by another program"};
}

int domain_of(Family family) {
  return family == Family::v4 ? AF_INET : AF_INET6;
}

}  // namespace

Result<std::unique_ptr<UdpSockets>> UdpSockets::open(const UdpOptions& options, const Syscalls& syscalls,
                                                     const InGroup& in_group) {
  std::unique_ptr<UdpSockets> sockets(new UdpSockets(options, syscalls, in_group));
  if (Status opened = sockets->open_all(); !opened) return opened.error();
  if (Status finished = sockets->finish(); !finished) return finished.error();
  return sockets;
}

Result<std::unique_ptr<UdpSockets>> UdpSockets::join(const UdpOptions& options, const UdpSockets& first,
                                                     const UdpSockets* before) {
  std::unique_ptr<UdpSockets> sockets(new UdpSockets(options, first.syscalls(), {.before = before}));
  sockets->joins_ = true;
  for (const uint16_t port : first.ports())
    if (Status added = sockets->add_port(port); !added) return added.error();
  if (Status finished = sockets->finish(); !finished) return finished.error();
  return sockets;
}

UdpSockets::UdpSockets(const UdpOptions& options, const Syscalls& syscalls, const InGroup& in_group)
    : options_(options),
      syscalls_(&syscalls),
      in_group_(in_group),
      fwmark_(options.fwmark),
      max_train_datagrams_(kMaxTrainDatagrams) {}

Status UdpSockets::open_all() {
  const SourcePorts& wanted = options_.source_ports;
  for (int attempt = 1;; ++attempt) {
    const uint16_t base = options_.port != 0 ? options_.port : wanted.first;
    if (Status opened = add_port(base); !opened) return opened;
    if (wanted.is_range()) return open_range();
    Result<bool> are_neighbours = open_neighbours();
    if (!are_neighbours) return are_neighbours.error();
    // Receivers spread neighbours evenly, others by chance. Another base may have room beside it.
    if (*are_neighbours || base != 0 || attempt == kBaseAttempts) break;
    ports_.clear();
    sockets_.clear();
  }
  while (ports_.size() < wanted.count)
    if (Status opened = add_port(0); !opened) return opened;
  return Success{};
}

// The ports of the range, but for the base port, which is open.
Status UdpSockets::open_range() {
  const SourcePorts& range = options_.source_ports;
  for (uint32_t port = range.first; port <= range.last(); ++port) {
    if (port == ports_[0]) continue;
    if (Status opened = add_port(static_cast<uint16_t>(port)); !opened) return opened;
  }
  return Success{};
}

// As many ports as are wanted and free, from behind the base port on. Whether none was left out.
Result<bool> UdpSockets::open_neighbours() {
  const size_t count = options_.source_ports.count;
  const uint32_t end = std::min<uint32_t>(65536, ports_[0] + static_cast<uint32_t>(kNeighbourhood * count));
  for (uint32_t port = ports_[0] + 1u; port < end && ports_.size() < count; ++port) {
    Status opened = add_port(static_cast<uint16_t>(port));
    if (!opened && opened.error().number != EADDRINUSE && opened.error().number != EACCES) return opened.error();
  }
  return ports_.size() == count && ports_.back() == ports_[0] + count - 1;
}

UdpSockets::PortSockets::~PortSockets() {
  for (const int fd : {v4.get(), v6.get()})
    if (steering != nullptr && fd >= 0) steering->forget(fd);
}

// Opens the sockets of a port, or of one that the kernel chooses (0).
Status UdpSockets::add_port(uint16_t wanted) {
  const UdpSockets* const before = in_group_.before;
  const size_t known = before != nullptr && wanted != 0 ? before->index_of(wanted) : 0;
  if (before != nullptr && wanted != 0 && known < before->ports_.size()) {
    ports_.push_back(wanted);
    sockets_.push_back(before->sockets_[known]);
    return Success{};
  }
  for (int attempt = 1;; ++attempt) {
    uint16_t port = wanted;
    auto sockets = std::make_shared<PortSockets>();
    sockets->steering = in_group_.steering;
    Status v4 = open_socket(Family::v4, port, sockets->v4, in_group_.steering, joins_);
    if (!v4 && v4.error().number != EAFNOSUPPORT) return v4;
    Status v6 = open_socket(Family::v6, port, sockets->v6, in_group_.steering, joins_);
    if (v6 || (v6.error().number == EAFNOSUPPORT && v4)) {
      ports_.push_back(port);
      sockets_.push_back(std::move(sockets));
      return Success{};
    }
    // A port that v4 chose may be taken in v6.
    if (v6.error().number != EADDRINUSE || wanted != 0 || attempt == kPortAttempts) return v6;
  }
}

// Opens the socket of one family on `port`; 0 becomes the one that the kernel chose.
Status UdpSockets::open_socket(Family family, uint16_t& port, Fd& fd, SocketSteering* steering, bool joins) const {
  const std::string name = family == Family::v4 ? "IPv4" : "IPv6";
  fd.reset(syscalls_->socket(domain_of(family), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!fd) return Error{errno, "open " + name + " UDP socket"};
  if (family == Family::v6 && !set_option(*syscalls_, fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1))
    return Error{errno, "set IPV6_V6ONLY"};
  const uint32_t mark = fwmark();
  if (mark != 0 && syscalls_->setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    return Error{errno, "set fwmark " + std::to_string(mark) + " on " + name + " UDP socket"};
  if (joins && !set_option(*syscalls_, fd.get(), SOL_SOCKET, SO_REUSEPORT, 1)) return Error{errno, "set SO_REUSEPORT"};
  set_buffer_sizes(*syscalls_, fd.get(), options_);
  set_ip_options(*syscalls_, fd.get(), family, options_.wide);

  if (steering != nullptr) {
    if (Status prepared = steering->prepare(family, fd.get(), in_group_.planned_members); !prepared) return prepared;
  }
  Address any;
  any.family = family;
  SocketAddress address{};
  socklen_t length = to_socket_address(any, port, 0, address);
  if (syscalls_->bind(fd.get(), &address.any, length) != 0) return bind_error(name, port);
  if (syscalls_->getsockname(fd.get(), &address.any, &length) != 0) return Error{errno, "read " + name + " UDP port"};
  port = remote_of(address).port;
  return Success{};
}

Result<Fd> UdpSockets::open_joiner(Family family, uint16_t port) const {
  Fd fd;
  if (Status opened = open_socket(family, port, fd, nullptr, true); !opened) return opened.error();
  set_option(*syscalls_, fd.get(), SOL_SOCKET, SO_RCVBUF, 0);
  return fd;
}

// What is done once all are open.
Status UdpSockets::finish() {
  in_group_.before = nullptr;
  datagrams_sent_ = std::make_unique<Counter[]>(ports_.size());
  bool gso = options_.gso, gro = options_.gro && kernel_has_sound_gro();
  for_each_socket([&](Family, size_t, int fd) {
    // 0 is the default and changes nothing: it only shows that the kernel knows UDP_SEGMENT (Linux 4.18).
    gso = gso && set_option(*syscalls_, fd, SOL_UDP, UDP_SEGMENT, 0);
    gro = gro && set_option(*syscalls_, fd, SOL_UDP, UDP_GRO, 1);
    return true;
  });
  gso_active_.store(gso, std::memory_order_relaxed);
  gro_active_ = gro;
  return ports_.size() > 1 ? watch() : Success{};
}

Status UdpSockets::watch() {
  Result<Poller> poller = Poller::open();
  if (!poller) return poller.error();
  Status added = Success{};
  for_each_socket([&](Family family, size_t port_index, int fd) {
    added = poller->add(fd, tag_of(family, port_index));
    return static_cast<bool>(added);
  });
  if (added) poller_.emplace(std::move(*poller));
  return added;
}

Status UdpSockets::share() const {
  const bool done =
      for_each_socket([&](Family, size_t, int fd) { return set_option(*syscalls_, fd, SOL_SOCKET, SO_REUSEPORT, 1); });
  return done ? Status(Success{}) : Error{errno, "set SO_REUSEPORT"};
}

Status UdpSockets::set_fwmark(uint32_t fwmark) {
  const bool done = for_each_socket([&](Family, size_t, int fd) {
    return syscalls_->setsockopt(fd, SOL_SOCKET, SO_MARK, &fwmark, sizeof fwmark) == 0;
  });
  if (!done) return Error{errno, "set fwmark " + std::to_string(fwmark)};
  fwmark_.store(fwmark, std::memory_order_relaxed);
  return Success{};
}

size_t UdpSockets::index_of(uint16_t port) const {
  const size_t distance = static_cast<uint16_t>(port - ports_[0]);  // of neighbours this is it
  if (distance < ports_.size() && ports_[distance] == port) return distance;
  return static_cast<size_t>(std::find(ports_.begin(), ports_.end(), port) - ports_.begin());
}

}  // namespace culvert::io
