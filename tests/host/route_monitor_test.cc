#include "src/host/route_monitor.h"

#include <gtest/gtest.h>

#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using std::chrono::milliseconds;

class RouteMonitorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_) GTEST_SKIP() << "needs network namespaces: run as root, or allow user namespaces";
    test::run("ip link set lo up");
  }
  static inline bool isolated_ = false;
};

// Whether `command` is noticed, and whether silence follows.
bool notices(RouteMonitor& monitor, const std::string& command) {
  while (test::wait_readable(monitor.fd(), milliseconds(100))) monitor.read_changes();
  EXPECT_EQ(test::run(command), 0) << command;
  const bool noticed = test::wait_readable(monitor.fd(), milliseconds(1000)) && monitor.read_changes();
  EXPECT_FALSE(monitor.read_changes()) << command << ": everything was drained";
  return noticed;
}

TEST_F(RouteMonitorTest, NoticesAddressesRoutesAndRulesOfBothFamilies) {
  auto monitor = RouteMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().text();
  for (const char* command :
       {"ip address add 10.9.0.1/24 dev lo", "ip -6 address add fd09::1/64 dev lo", "ip route add 10.10.0.0/24 dev lo",
        "ip -6 route add fd10::/64 dev lo", "ip route del 10.10.0.0/24", "ip -6 route del fd10::/64",
        "ip rule add fwmark 1 table 100", "ip -6 rule add fwmark 1 table 100", "ip address del 10.9.0.1/24 dev lo",
        "ip link set lo down", "ip link set lo up"})
    EXPECT_TRUE(notices(*monitor, command)) << command;
}

TEST_F(RouteMonitorTest, IsSilentWhenNothingChanges) {
  auto monitor = RouteMonitor::open();
  ASSERT_TRUE(monitor);
  while (test::wait_readable(monitor->fd(), milliseconds(200))) monitor->read_changes();
  EXPECT_FALSE(monitor->read_changes());
}

TEST_F(RouteMonitorTest, SurvivesAStorm) {
  auto monitor = RouteMonitor::open();
  ASSERT_TRUE(monitor);
  ASSERT_EQ(
      test::run("f=/tmp/cvroute.$$; for i in $(seq 3000); do echo \"route replace 10.77.0.0/16 dev lo metric $i\"; "
                "done > $f; ip -batch $f; r=$?; rm -f $f; exit $r"),
      0);
  EXPECT_TRUE(monitor->read_changes());
  EXPECT_TRUE(notices(*monitor, "ip route add 10.10.0.0/24 dev lo"));
}

}  // namespace
}  // namespace culvert::host
