#include "io/route_probe.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <string>
#include <thread>

namespace culvert::io {
namespace {

Endpoint at(const std::string& text) {
  Endpoint endpoint;
  EXPECT_TRUE(parse_endpoint(text, endpoint)) << text;
  return endpoint;
}

TEST(RouteProbe, SaysWhatTheKernelWouldChoose) {
  RouteProbe probe;
  for (int time = 0; time < 3; ++time) {
    EXPECT_EQ(probe.ask(at("127.0.0.1:9"), 0).source, at("127.0.0.1:0").remote);
    EXPECT_EQ(probe.ask(at("[::1]:9"), 0).source, at("[::1]:0").remote);
    EXPECT_EQ(probe.ask(Endpoint{}, 0), RouteChoice{});
  }
  EXPECT_GT(probe.ask(at("127.0.0.1:9"), 0).mtu_bytes, 0u);
}

// In a network namespace of the thread's own.
TEST(RouteProbe, SeesThatARouteComesMovesAndGoes) {
  bool allowed = false;
  std::thread thread([&allowed] {
    allowed = unshare(CLONE_NEWNET) == 0;
    if (!allowed) return;
    const auto ip = [](const std::string& words) { EXPECT_EQ(std::system(("ip " + words).c_str()), 0) << words; };
    ip("link add one type veth peer far1 && ip link set far1 up && ip link set one mtu 1400 up && ip address add "
       "192.0.2.1/24 dev one");
    ip("link add two type veth peer far2 && ip link set far2 up && ip link set two mtu 1300 up && ip address add "
       "198.51.100.1/24 dev two");
    RouteProbe probe;
    const Endpoint remote = at("203.0.113.5:9");
    EXPECT_EQ(probe.ask(remote, 0), RouteChoice{});
    ip("route add default dev one");
    EXPECT_EQ(probe.ask(remote, 0), (RouteChoice{at("192.0.2.1:0").remote, 1400}));
    ip("route replace default dev two");
    EXPECT_EQ(probe.ask(remote, 0), (RouteChoice{at("198.51.100.1:0").remote, 1300}));
    EXPECT_EQ(probe.ask(at("192.0.2.7:9"), 0).source, at("192.0.2.1:0").remote);
    ip("rule add fwmark 7 table 7 && ip route add default dev one table 7");
    EXPECT_EQ(probe.ask(remote, 7).source, at("192.0.2.1:0").remote);
    EXPECT_EQ(probe.ask(remote, 0).source, at("198.51.100.1:0").remote);
    ip("route del default");
    EXPECT_EQ(probe.ask(remote, 0), RouteChoice{});
  });
  thread.join();
  if (!allowed) GTEST_SKIP() << "needs the right to make network namespaces (root)";
}

}  // namespace
}  // namespace culvert::io
