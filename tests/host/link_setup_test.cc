#include "src/host/link_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LinkSetupTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_ || ::access("/dev/net/tun", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs /dev/net/tun and network namespaces: run as root, or allow user namespaces";
    tun_ = test::make_tun("cvset0");
    ASSERT_TRUE(tun_) << std::strerror(errno);
  }

  static inline bool isolated_ = false;
  io::Fd tun_;
};

TEST_F(LinkSetupTest, SetsMtuAddressesAndUp) {
  const std::vector<device::Prefix> addresses = {*device::parse_prefix("10.7.0.1/24", device::PrefixLength::required),
                                                 *device::parse_prefix("fd07::1/64", device::PrefixLength::required)};
  EXPECT_TRUE(set_link_mtu("cvset0", 1380));
  EXPECT_TRUE(add_link_addresses("cvset0", addresses));
  EXPECT_TRUE(add_link_addresses("cvset0", addresses)) << "what is there already is no error";
  EXPECT_TRUE(set_link_up("cvset0"));
  const std::string shown = test::output_of("ip address show dev cvset0");
  EXPECT_THAT(shown, HasSubstr("mtu 1380"));
  EXPECT_THAT(shown, HasSubstr("UP"));
  EXPECT_THAT(shown, HasSubstr("inet 10.7.0.1/24 "));
  EXPECT_THAT(shown, HasSubstr("inet6 fd07::1/64 "));
  EXPECT_THAT(test::output_of("ip route show dev cvset0"), HasSubstr("10.7.0.0/24"));
}

TEST_F(LinkSetupTest, SaysWhatTheKernelRefuses) {
  const io::Status mtu = set_link_mtu("cvset0", 70000);
  ASSERT_FALSE(mtu);
  EXPECT_EQ(mtu.error().text(), "set the MTU of cvset0 to 70000: Invalid argument");
  const io::Status missing = set_link_up("cvnone0");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().text(), "bring up cvnone0: No such device");
  EXPECT_FALSE(add_link_addresses("cvnone0", {}));
}

TEST_F(LinkSetupTest, KeepsTheKernelFromAddressesAndPacketsOfItsOwn) {
  test::run("echo 0 > /proc/sys/net/ipv6/conf/cvset0/disable_ipv6");
  EXPECT_TRUE(forgo_link_local_address("cvset0"));
  // A second device, left as the kernel makes it, tells when the kernel had its time to speak.
  const io::Fd usual = test::make_tun("cvset1", IFF_TUN | IFF_NO_PI);
  ASSERT_TRUE(usual);
  EXPECT_TRUE(set_link_up("cvset0"));
  EXPECT_TRUE(set_link_up("cvset1"));
  ASSERT_TRUE(test::wait_readable(usual.get(), std::chrono::seconds(60))) << "no router was solicited at all";
  EXPECT_THAT(test::output_of("ip address show dev cvset1"), HasSubstr("fe80::"));
  EXPECT_THAT(test::output_of("ip address show dev cvset0"), Not(HasSubstr("inet6")));
  EXPECT_FALSE(test::wait_readable(tun_.get(), std::chrono::milliseconds(0))) << "the kernel sent a packet of its own";
}

TEST_F(LinkSetupTest, MindsNoMissingIpv6WhenItForgoesItsAddress) {
  EXPECT_TRUE(set_link_mtu("cvset0", 1000));  // takes IPv6 off the interface altogether
  EXPECT_TRUE(forgo_link_local_address("cvset0"));
  EXPECT_FALSE(forgo_link_local_address("cvnone0"));
}

TEST_F(LinkSetupTest, SaysHowToHaveAnIpv6Address) {
  const std::vector<device::Prefix> address = {*device::parse_prefix("fd07::1/64", device::PrefixLength::required)};
  if (test::run("echo 1 > /proc/sys/net/ipv6/conf/cvset0/disable_ipv6") != 0)
    GTEST_SKIP() << "cannot write /proc/sys/net: run as root";
  const io::Status disabled = add_link_addresses("cvset0", address);
  ASSERT_FALSE(disabled);
  EXPECT_THAT(disabled.error().text(),
              HasSubstr("add address fd07::1/64 to cvset0: IPv6 is disabled on it; run `sysctl "
                        "net.ipv6.conf.cvset0.disable_ipv6=0`"));
  EXPECT_TRUE(set_link_mtu("cvset0", 1000));
  const io::Status narrow = add_link_addresses("cvset0", address);
  ASSERT_FALSE(narrow);
  EXPECT_THAT(narrow.error().text(), HasSubstr("IPv6 needs an MTU of at least 1280"));
}

}  // namespace
}  // namespace culvert::host
