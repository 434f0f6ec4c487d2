#include "io/udp_sockets.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <cerrno>

#include "io/udp_message.h"
#include "tests/io/outgoing.h"

namespace culvert::io {
namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
  return value;
}

uint16_t bound_port(int fd) {
  SocketAddress address{};
  socklen_t length = sizeof address;
  EXPECT_EQ(getsockname(fd, &address.any, &length), 0);
  return remote_of(address).port;
}

// The kernel's calls, except for what a test puts in their place.
struct Scripted {
  static inline int missing_domain = -1;
  static inline int v6_binds_to_refuse = 0;
  static inline int v6_bind_error = EADDRINUSE;
  static inline int refused_option = -1;  // of SOL_UDP

  static Syscalls table() {
    missing_domain = refused_option = -1;
    v6_binds_to_refuse = 0;
    v6_bind_error = EADDRINUSE;
    Syscalls calls = kernel_syscalls();
    calls.socket = [](int domain, int type, int protocol) {
      if (domain == missing_domain || missing_domain == AF_UNSPEC) {
        errno = EAFNOSUPPORT;
        return -1;
      }
      return ::socket(domain, type, protocol);
    };
    calls.bind = [](int fd, const sockaddr* address, socklen_t length) {
      if (address->sa_family == AF_INET6 && v6_binds_to_refuse > 0) {
        --v6_binds_to_refuse;
        errno = v6_bind_error;
        return -1;
      }
      return ::bind(fd, address, length);
    };
    calls.setsockopt = [](int fd, int level, int name, const void* value, socklen_t length) {
      if (level == SOL_UDP && name == refused_option) {
        errno = ENOPROTOOPT;
        return -1;
      }
      return ::setsockopt(fd, level, name, value, length);
    };
    return calls;
  }
};

TEST(UdpSocketsTest, PortZeroIsOnePortForBothFamilies) {
  const auto sockets = open_sockets();
  EXPECT_NE(sockets->port(), 0);
  EXPECT_EQ(bound_port(sockets->fd(Family::v4)), sockets->port());
  EXPECT_EQ(bound_port(sockets->fd(Family::v6)), sockets->port());
  EXPECT_EQ(sockets->fd(Family::none), -1);
}

TEST(UdpSocketsTest, AGivenPortIsUsedAndCannotBeUsedTwice) {
  auto first = open_sockets();
  const uint16_t port = first->port();
  auto second = UdpSockets::open({.port = port});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().number, EADDRINUSE);
  EXPECT_NE(second.error().text().find(std::to_string(port)), std::string::npos);
  first.reset();
  second = UdpSockets::open({.port = port});
  ASSERT_TRUE(second) << second.error().text();
  EXPECT_EQ((*second)->port(), port);
}

TEST(UdpSocketsTest, SetsTheSocketsUpForTrainsAndFragments) {
  const auto sockets = open_sockets();
  const int v4 = sockets->fd(Family::v4), v6 = sockets->fd(Family::v6);
  EXPECT_EQ(option(v4, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DONT);
  EXPECT_EQ(option(v6, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_DONT);
  EXPECT_EQ(option(v6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
  for (const int fd : {v4, v6}) {
    EXPECT_EQ(option(fd, SOL_UDP, UDP_GRO), sockets->gro_active() ? 1 : 0);
    EXPECT_GT(option(fd, SOL_SOCKET, SO_RCVBUF), 0);
  }
}

TEST(UdpSocketsTest, OffloadsCanBeSwitchedOff) {
  const auto sockets = open_sockets({.gso = false, .gro = false});
  EXPECT_FALSE(sockets->gso_active());
  EXPECT_FALSE(sockets->gro_active());
  EXPECT_EQ(sockets->max_train_datagrams(), 1);
  EXPECT_EQ(option(sockets->fd(Family::v4), SOL_UDP, UDP_GRO), 0);
}

TEST(UdpSocketsTest, AnOffloadThatTheKernelLacksIsDoneWithout) {
  const Syscalls calls = Scripted::table();
  Scripted::refused_option = UDP_SEGMENT;
  EXPECT_FALSE(open_sockets({}, calls)->gso_active());
  Scripted::refused_option = UDP_GRO;
  const auto sockets = open_sockets({}, calls);
  EXPECT_TRUE(sockets->gso_active());
  EXPECT_FALSE(sockets->gro_active());
}

TEST(UdpSocketsTest, AFamilyThatTheHostLacksIsLeftOut) {
  const Syscalls calls = Scripted::table();
  for (const auto& [domain, missing, present] :
       {std::tuple(AF_INET, Family::v4, Family::v6), std::tuple(AF_INET6, Family::v6, Family::v4)}) {
    Scripted::missing_domain = domain;
    const auto sockets = open_sockets({}, calls);
    EXPECT_EQ(sockets->fd(missing), -1);
    EXPECT_GE(sockets->fd(present), 0);
    EXPECT_EQ(sockets->port(), bound_port(sockets->fd(present)));
  }
  Scripted::missing_domain = AF_UNSPEC;
  EXPECT_EQ(UdpSockets::open({}, calls).error().number, EAFNOSUPPORT);
}

TEST(UdpSocketsTest, LooksForAnotherPortWhenTheFirstIsTakenInV6) {
  const Syscalls calls = Scripted::table();
  Scripted::v6_binds_to_refuse = 3;
  const auto sockets = open_sockets({}, calls);
  EXPECT_EQ(Scripted::v6_binds_to_refuse, 0);
  EXPECT_EQ(bound_port(sockets->fd(Family::v4)), bound_port(sockets->fd(Family::v6)));
}

TEST(UdpSocketsTest, GivesUpWhenNoPortIsFreeOrTheErrorIsAnother) {
  const Syscalls calls = Scripted::table();
  Scripted::v6_binds_to_refuse = 1'000'000;
  EXPECT_EQ(UdpSockets::open({}, calls).error().number, EADDRINUSE);
  Scripted::v6_bind_error = EACCES;
  EXPECT_EQ(UdpSockets::open({}, calls).error().number, EACCES);
}

TEST(UdpSocketsTest, SetsTheFwmarkAtOpenAndLater) {
  auto opened = UdpSockets::open({.fwmark = 0xfedcba98});
  if (!opened) {
    EXPECT_EQ(opened.error().number, EPERM) << "only CAP_NET_ADMIN may set it";
    EXPECT_EQ(open_sockets()->set_fwmark(7).error().number, EPERM);
    return;
  }
  for (const uint32_t mark : {0xfedcba98u, 7u, 0u}) {
    EXPECT_TRUE((*opened)->set_fwmark(mark));
    for (const Family family : {Family::v4, Family::v6})
      EXPECT_EQ(static_cast<uint32_t>(option((*opened)->fd(family), SOL_SOCKET, SO_MARK)), mark);
  }
}

TEST(UdpSocketsTest, OnlyOneCallerLearnsOfADowngrade) {
  const auto sockets = open_sockets();
  EXPECT_EQ(sockets->max_train_datagrams(), kMaxTrainDatagrams);
  EXPECT_TRUE(sockets->limit_train_datagrams(64));
  EXPECT_FALSE(sockets->limit_train_datagrams(64));
  EXPECT_EQ(sockets->max_train_datagrams(), 64);
  EXPECT_TRUE(sockets->disable_gso());
  EXPECT_FALSE(sockets->disable_gso());
  EXPECT_EQ(sockets->max_train_datagrams(), 1);
}

}  // namespace
}  // namespace culvert::io
