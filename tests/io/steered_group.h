// Sockets that share a port, and senders to them, over loopback.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "io/socket_steering.h"
#include "io/udp_message.h"
#include "tests/io/outgoing.h"

namespace culvert::io {

inline Fd udp_socket(Family family) {
  Fd fd(::socket(family == Family::v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (family == Family::v6) EXPECT_EQ(::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), 0);
  EXPECT_EQ(::setsockopt(fd.get(), SOL_UDP, UDP_GRO, &on, sizeof on), 0);
  return fd;
}

inline int bind_loopback(int fd, Family family, uint16_t port) {
  SocketAddress address{};
  const Endpoint at = endpoint((family == Family::v4 ? "127.0.0.1:" : "[::1]:") + std::to_string(port == 0 ? 1 : port));
  const socklen_t length = to_socket_address(at.remote, port, 0, address);
  return ::bind(fd, &address.any, length) == 0 ? 0 : errno;
}

inline uint16_t port_of(int fd) {
  SocketAddress address{};
  socklen_t length = sizeof address;
  EXPECT_EQ(::getsockname(fd, &address.any, &length), 0);
  return remote_of(address).port;
}

inline void reuse(const Fd& fd) {
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
  void send(const Bytes& bytes, const Group& to, uint16_t segment_size = 0) { send(bytes, to.port(), segment_size); }
  void send(const Bytes& bytes, uint16_t to, uint16_t segment_size = 0) {
    SocketAddress address{};
    const Endpoint at = endpoint((family_ == Family::v4 ? "127.0.0.1:" : "[::1]:") + std::to_string(to));
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

}  // namespace culvert::io
