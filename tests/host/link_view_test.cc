#include "src/host/link_view.h"

#include <gtest/gtest.h>

#include "src/host/route_monitor.h"
#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using std::chrono::milliseconds;

io::Address address(const std::string& text) {
  io::Endpoint endpoint;
  EXPECT_TRUE(io::parse_endpoint((text.find(':') == std::string::npos ? text : "[" + text + "]") + ":1", endpoint));
  return endpoint.remote;
}

class LinkViewTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_) GTEST_SKIP() << "needs network namespaces: run as root, or allow user namespaces";
    for (const char* const command :
         {"ip link add near address 02:00:00:00:00:01 mtu 1400 type veth peer name far address 02:00:00:00:00:02",
          "ip link set near up", "ip link set far up", "ip addr add 192.0.2.1/24 dev near",
          "ip addr add 2001:db8::1/64 dev near nodad", "ip route add default via 192.0.2.254",
          "ip addr add 192.0.2.3/24 dev near", "ip route add 198.51.100.0/24 via 192.0.2.253 src 192.0.2.3",
          "ip -6 route add default via 2001:db8::ff",
          "ip neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev near nud permanent",
          "ip neigh add 192.0.2.9 dev near nud failed"})
      ASSERT_EQ(test::run(command), 0) << command;
    near_ = if_nametoindex("near");
  }
  void TearDown() override { test::run("ip link del near"); }

  static inline bool isolated_ = false;
  unsigned near_ = 0;
};

TEST_F(LinkViewTest, HasAddressesRoutesAndNeighboursOfOneInterface) {
  const auto view = read_link_view(near_);
  ASSERT_TRUE(view) << view.error().text();
  EXPECT_EQ(view->mtu, 1400u);
  EXPECT_EQ(view->mac, (std::array<uint8_t, 6>{2, 0, 0, 0, 0, 1}));
  ASSERT_GE(view->addresses.size(), 3u);
  EXPECT_EQ(view->addresses[0].address, address("192.0.2.1"));
  EXPECT_EQ(view->addresses[0].prefix_bits, 24);
  EXPECT_EQ(view->addresses[2].address, address("2001:db8::1")) << "those of the link alone come last";
  const auto has_route = [&](const std::string& prefix, uint8_t bits, const io::Address& gateway) {
    for (const LinkView::Route& route : view->routes)
      if (route.prefix == address(prefix) && route.prefix_bits == bits && route.gateway == gateway) return true;
    return false;
  };
  EXPECT_TRUE(has_route("192.0.2.0", 24, {}));
  EXPECT_TRUE(has_route("198.51.100.0", 24, address("192.0.2.253")));
  for (const LinkView::Route& route : view->routes)
    if (route.prefix == address("198.51.100.0")) EXPECT_EQ(route.source, address("192.0.2.3"));
  EXPECT_TRUE(has_route("0.0.0.0", 0, address("192.0.2.254")));
  EXPECT_TRUE(has_route("::", 0, address("2001:db8::ff")));
  EXPECT_EQ(view->routes.back().prefix_bits, 0) << "the longest prefixes come first";
  ASSERT_EQ(view->neighbours.size(), 1u) << "one that failed has no MAC address";
  EXPECT_EQ(view->neighbours[0].address, address("192.0.2.254"));
  EXPECT_EQ(view->neighbours[0].mac, (std::array<uint8_t, 6>{2, 0, 0, 0, 0, 0xfe}));
}

TEST_F(LinkViewTest, OfNoInterfaceIsAnError) {
  const auto view = read_link_view(near_ + 1000);
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().number, ENODEV);
}

TEST_F(LinkViewTest, MonitorSeesWhatTheKernelFindsOut) {
  auto monitor = RouteMonitor::open_with_neighbours();
  ASSERT_TRUE(monitor) << monitor.error().text();
  EXPECT_FALSE(monitor->read_changes());
  ASSERT_EQ(test::run("ip neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fd dev near nud permanent"), 0);
  EXPECT_TRUE(test::wait_readable(monitor->fd(), milliseconds(1000)));
  EXPECT_TRUE(monitor->read_changes());
  // Nobody answers, so what changes is that it has failed.
  for (const char* const neighbour : {"192.0.2.77", "2001:db8::77"}) {
    const io::Status asked = resolve_neighbour(near_, address(neighbour));
    ASSERT_TRUE(asked) << asked.error().text();
    EXPECT_TRUE(test::wait_readable(monitor->fd(), milliseconds(10000))) << neighbour;
    (void)monitor->read_changes();
  }
}

}  // namespace
}  // namespace culvert::host
