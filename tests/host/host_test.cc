#include "src/host/host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Step route(int number) {
  return {.kind = Step::Kind::route,
          .prefix =
              *device::parse_prefix("10." + std::to_string(number / 256) + "." + std::to_string(number % 256) + ".0/24",
                                    device::PrefixLength::required),
          .number = kMainTable};
}

class HostTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { isolated_ = test::enter_own_namespaces(CLONE_NEWNET); }
  void SetUp() override {
    if (!isolated_ || ::access("/dev/net/tun", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs /dev/net/tun and network namespaces: run as root, or allow user namespaces";
    ASSERT_NE(::mkdtemp(folder_), nullptr);
    tun_ = test::make_tun("cvhost0");
    ASSERT_TRUE(tun_) << std::strerror(errno);
    auto journal = Journal::open("cvhost0", folder_);
    ASSERT_TRUE(journal);
    host_.emplace("cvhost0", std::move(*journal),
                  Helpers{[](const Command&) { return io::Success{}; },
                          [](uint32_t, uint32_t) { return io::Success{}; }, [this] { ++breaths_; }});
    ASSERT_TRUE(host_->change_to({kUp}));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<Step> with_routes(int first, int last) const {
    std::vector<Step> steps = {kUp};
    for (int i = first; i < last; ++i) steps.push_back(route(i));
    return steps;
  }

  static std::vector<std::string> routes() {
    std::istringstream lines(test::output_of("ip -4 route show dev cvhost0"));
    std::vector<std::string> out;
    for (std::string line; std::getline(lines, line);) out.push_back(line.substr(0, line.find(' ')));
    return out;
  }

  std::string journal() const {
    std::ifstream file(std::string(folder_) + "/cvhost0.journal");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  static inline bool isolated_ = false;
  const Step kUp{.kind = Step::Kind::link, .number = 1420};
  int breaths_ = 0;
  char folder_[32] = "/tmp/culvert-host-XXXXXX";
  io::Fd tun_;
  std::optional<Host> host_;
};

TEST_F(HostTest, FollowsStepByStepAndAnotherGoalOnTheWay) {
  host_->follow(with_routes(0, 100));
  EXPECT_TRUE(host_->follow_on(30).more);
  EXPECT_THAT(routes(), SizeIs(30));
  host_->follow(with_routes(90, 120));
  size_t turns = 1;
  for (; host_->follow_on(30).more; ++turns) EXPECT_LT(turns, 10u);
  EXPECT_EQ(turns, 2u) << "30 to add, 30 of those before to remove";
  EXPECT_FALSE(host_->following());
  EXPECT_THAT(routes(), SizeIs(30));
  EXPECT_THAT(routes(), testing::Each(testing::StartsWith("10.0.")));
  EXPECT_EQ(host_->done().size(), 31u);
  host_->follow(with_routes(90, 120));
  EXPECT_FALSE(host_->follow_on(1).more) << "it is there";
}

TEST_F(HostTest, LetsOthersTurnAmongThousandsOfSteps) {
  EXPECT_TRUE(host_->change_to(with_routes(0, 1000)));
  EXPECT_EQ(breaths_, 3);
  EXPECT_THAT(routes(), SizeIs(1000));
  EXPECT_TRUE(host_->change_to({kUp}));
  EXPECT_EQ(breaths_, 6);
  EXPECT_THAT(routes(), IsEmpty());
}

TEST_F(HostTest, GivesUpItsGoalForAChange) {
  host_->follow(with_routes(0, 10));
  EXPECT_TRUE(host_->follow_on(5).more);
  EXPECT_TRUE(host_->change_to(with_routes(20, 22)));
  EXPECT_THAT(routes(), testing::UnorderedElementsAre("10.0.20.0/24", "10.0.21.0/24"));
}

TEST_F(HostTest, GoesOnPastWhatIsRefusedWhenItFollows) {
  ASSERT_EQ(test::run("ip route add 10.0.1.0/24 dev cvhost0"), 0);
  host_->follow(with_routes(0, 3));
  const Host::Followed followed = host_->follow_on(100);
  EXPECT_THAT(followed.refusals, SizeIs(1));
  EXPECT_THAT(routes(), SizeIs(3));
}

TEST_F(HostTest, WritesDownWhatOutlivesIt) {
  const Step rule{.kind = Step::Kind::rule, .number = 51820};
  const Step suppress{.kind = Step::Kind::suppress};
  ASSERT_TRUE(host_->change_to({kUp, rule, suppress}));
  EXPECT_THAT(journal(), testing::HasSubstr("\nrule 4 51820\nsuppress 4\nend\n"));
  EXPECT_THAT(host_->undo_all(), IsEmpty());
  EXPECT_THAT(journal(), testing::Not(testing::HasSubstr("rule")));
  EXPECT_THAT(test::output_of("ip -4 rule"), testing::Not(testing::HasSubstr("51820")));
}

TEST_F(HostTest, LeavesTheMainTableFirstForOtherTunnels) {
  const Step rule{.kind = Step::Kind::rule, .number = 51820};
  const Step suppress{.kind = Step::Kind::suppress};
  ASSERT_TRUE(host_->change_to({kUp, rule, suppress}));
  // Another tunnel, in the same order; each goes before what is there.
  ASSERT_EQ(test::run("ip rule add not fwmark 51821 table 51821 && ip rule add table main suppress_prefixlength 0"), 0);
  EXPECT_THAT(host_->undo_all(), IsEmpty());
  const std::string rules = test::output_of("ip -4 rule");
  EXPECT_LT(rules.find("suppress_prefixlength"), rules.find("51821")) << rules;
  EXPECT_EQ(test::run("ip rule del table 51821 && ip rule del table main suppress_prefixlength 0"), 0);
}

TEST_F(HostTest, SetsASysctlOfAnInterfaceWithADotInItsName) {
  const io::Fd dotted = test::make_tun("cvhost0.7", IFF_TUN | IFF_NO_PI);
  ASSERT_TRUE(dotted);
  EXPECT_TRUE(
      host_->change_to({kUp, {.kind = Step::Kind::sysctl, .number = 2, .name = "net/ipv6/conf/cvhost0.7/accept_ra"}}));
  EXPECT_EQ(test::output_of("cat /proc/sys/net/ipv6/conf/cvhost0.7/accept_ra"), "2\n");
}

}  // namespace
}  // namespace culvert::host
