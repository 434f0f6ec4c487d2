#include "io/udp_sockets.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#include <cerrno>
#include <string>

#include "io/kernel_version.h"
#include "io/udp_message.h"

namespace culvert::io {
namespace {

// How often to look for a port that is free for both families. Each try is independent, and even with half of
// the ports taken 64 misses in a row do not happen.
constexpr int kPortAttempts = 64;

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
void set_ip_options(const Syscalls& syscalls, int fd, Family family) {
  if (family == Family::v4) {
    set_option(syscalls, fd, IPPROTO_IP, IP_PKTINFO, 1);
    set_option(syscalls, fd, IPPROTO_IP, IP_RECVTOS, 1);
    set_option(syscalls, fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  } else {
    set_option(syscalls, fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    set_option(syscalls, fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    set_option(syscalls, fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
  }
}

int domain_of(Family family) {
  return family == Family::v4 ? AF_INET : AF_INET6;
}

}  // namespace

Result<std::unique_ptr<UdpSockets>> UdpSockets::open(const UdpOptions& options, const Syscalls& syscalls) {
  std::unique_ptr<UdpSockets> sockets(new UdpSockets(syscalls));
  if (Status status = sockets->open_both(options); !status) return status.error();
  sockets->enable_offloads(options);
  return sockets;
}

UdpSockets::UdpSockets(const Syscalls& syscalls) : syscalls_(&syscalls), max_train_datagrams_(kMaxTrainDatagrams) {}

Status UdpSockets::open_both(const UdpOptions& options) {
  for (int attempt = 1;; ++attempt) {
    port_ = options.port;
    Status v4 = open_family(Family::v4, options);
    if (!v4 && v4.error().number != EAFNOSUPPORT) return v4;
    Status v6 = open_family(Family::v6, options);
    if (v6 || (v6.error().number == EAFNOSUPPORT && v4)) return Success{};
    v4_.reset();
    // A port that v4 chose may be taken in v6.
    if (v6.error().number != EADDRINUSE || options.port != 0 || attempt == kPortAttempts) return v6;
  }
}

// Opens the socket of one family on port_; a port_ of 0 becomes the one that the kernel chose.
Status UdpSockets::open_family(Family family, const UdpOptions& options) {
  const std::string name = family == Family::v4 ? "IPv4" : "IPv6";
  Fd fd(syscalls_->socket(domain_of(family), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!fd) return Error{errno, "open " + name + " UDP socket"};
  if (family == Family::v6 && !set_option(*syscalls_, fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1))
    return Error{errno, "set IPV6_V6ONLY"};
  if (options.fwmark != 0 &&
      syscalls_->setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &options.fwmark, sizeof options.fwmark) != 0)
    return Error{errno, "set fwmark " + std::to_string(options.fwmark) + " on " + name + " UDP socket"};
  set_buffer_sizes(*syscalls_, fd.get(), options);
  set_ip_options(*syscalls_, fd.get(), family);

  Address any;
  any.family = family;
  SocketAddress address{};
  socklen_t length = to_socket_address(any, port_, 0, address);
  if (syscalls_->bind(fd.get(), &address.any, length) != 0)
    return Error{errno, "bind " + name + " UDP port " + std::to_string(port_)};
  if (syscalls_->getsockname(fd.get(), &address.any, &length) != 0) return Error{errno, "read " + name + " UDP port"};
  port_ = remote_of(address).port;
  (family == Family::v4 ? v4_ : v6_) = std::move(fd);
  return Success{};
}

void UdpSockets::enable_offloads(const UdpOptions& options) {
  bool gso = options.gso, gro = options.gro && kernel_has_sound_gro();
  for (const int fd : {v4_.get(), v6_.get()}) {
    if (fd < 0) continue;
    // 0 is the default and changes nothing: it only shows that the kernel knows UDP_SEGMENT (Linux 4.18).
    gso = gso && set_option(*syscalls_, fd, SOL_UDP, UDP_SEGMENT, 0);
    gro = gro && set_option(*syscalls_, fd, SOL_UDP, UDP_GRO, 1);
  }
  gso_active_.store(gso, std::memory_order_relaxed);
  gro_active_ = gro;
}

Status UdpSockets::set_fwmark(uint32_t fwmark) {
  for (const int fd : {v4_.get(), v6_.get()})
    if (fd >= 0 && syscalls_->setsockopt(fd, SOL_SOCKET, SO_MARK, &fwmark, sizeof fwmark) != 0)
      return Error{errno, "set fwmark " + std::to_string(fwmark)};
  return Success{};
}

}  // namespace culvert::io
