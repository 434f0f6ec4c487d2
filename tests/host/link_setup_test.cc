#include "src/host/link_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using ::testing::HasSubstr;

class LinkSetupTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_ || ::access("/dev/net/tun", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs /dev/net/tun and network namespaces: test::run as root, or allow user namespaces";
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

}  // namespace
}  // namespace culvert::host
