#include "src/host/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace culvert::host {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

device::Prefix prefix(const std::string& text) {
  return *device::parse_prefix(text, device::PrefixLength::optional);
}

std::vector<device::Prefix> prefixes(const std::vector<std::string>& texts) {
  std::vector<device::Prefix> out;
  for (const std::string& text : texts) out.push_back(prefix(text));
  return out;
}

std::vector<std::string> lines(const std::vector<Step>& steps) {
  std::vector<std::string> out;
  for (const Step& step : steps) {
    std::string line = describe(step, "wg0");
    if (step.kind == Step::Kind::firewall) line = line.substr(0, line.find(" {"));
    out.push_back(line);
  }
  return out;
}

Facts facts() {
  return {.interface_name = "wg0", .automatic_mark = 51820, .path_mtu = 1500};
}

TEST(Plan, RoutesWhatTheAddressesDoNotCover) {
  Settings settings;
  settings.addresses = prefixes({"10.0.0.1/24", "fd00::1/64", "192.0.2.1/32"});
  EXPECT_THAT(
      lines(plan(settings, facts(),
                 prefixes({"10.0.0.7/32", "10.1.0.0/16", "10.1.2.0/24", "fd00::7/128", "fd01::/64", "192.0.2.1/32"}))),
      ElementsAre("ip -4 address add 10.0.0.1/24 dev wg0", "ip -6 address add fd00::1/64 dev wg0",
                  "ip -4 address add 192.0.2.1/32 dev wg0", "ip link set mtu 1420 up dev wg0",
                  "ip -6 route add fd01::/64 dev wg0", "ip -4 route add 192.0.2.1/32 dev wg0",
                  "ip -4 route add 10.1.2.0/24 dev wg0", "ip -4 route add 10.1.0.0/16 dev wg0"));
}

TEST(Plan, SendsEverythingThroughTheTunnelButWhatItMarks) {
  Settings settings;
  settings.addresses = prefixes({"10.2.0.2/32", "fd02::2/128"});
  settings.dns_servers = {"10.2.0.1"};
  settings.dns_search = {"corp.example"};
  const std::vector<Step> steps = plan(settings, facts(), prefixes({"0.0.0.0/0", "::/0"}));
  EXPECT_THAT(
      lines(steps),
      ElementsAre("ip -4 address add 10.2.0.2/32 dev wg0", "ip -6 address add fd02::2/128 dev wg0",
                  "ip link set mtu 1420 up dev wg0", "resolvconf -a wg0 with nameserver 10.2.0.1, search corp.example",
                  "wg set wg0 fwmark 51820", "ip -6 route add ::/0 dev wg0 table 51820",
                  "ip -6 rule add not fwmark 51820 table 51820", "ip -6 rule add table main suppress_prefixlength 0",
                  "nft add table ip6 culvert-wg0", "ip -4 route add 0.0.0.0/0 dev wg0 table 51820",
                  "ip -4 rule add not fwmark 51820 table 51820", "ip -4 rule add table main suppress_prefixlength 0",
                  "sysctl -q net.ipv4.conf.all.src_valid_mark=1", "nft add table ip culvert-wg0"));
  EXPECT_THAT(steps.back().text, HasSubstr("iifname != \"wg0\" ip daddr 10.2.0.2 fib saddr type != local drop"));
  EXPECT_THAT(steps.back().text, Not(HasSubstr("fd02::2")));
}

TEST(Plan, TakesTheMarkThatIsConfigured) {
  Facts given = facts();
  given.fwmark = 0x77;
  const std::vector<std::string> planned = lines(plan({}, given, prefixes({"::/0"})));
  EXPECT_THAT(planned, testing::Contains("ip -6 rule add not fwmark 119 table 119"));
  EXPECT_THAT(planned, Not(testing::Contains(HasSubstr("wg set"))));
}

TEST(Plan, PutsRoutesIntoTheTableThatIsNamedOrNowhere) {
  Settings settings;
  settings.addresses = prefixes({"10.0.0.1/24"});
  settings.mtu = 1380;
  settings.table = {TableChoice::Kind::number, 77};
  EXPECT_THAT(
      lines(plan(settings, facts(), prefixes({"0.0.0.0/0", "10.0.0.7"}))),
      ElementsAre("ip -4 address add 10.0.0.1/24 dev wg0", "ip link set mtu 1380 up dev wg0",
                  "ip -4 route add 10.0.0.7/32 dev wg0 table 77", "ip -4 route add 0.0.0.0/0 dev wg0 table 77"));
  settings.table = {TableChoice::Kind::off, 0};
  EXPECT_THAT(lines(plan(settings, facts(), prefixes({"0.0.0.0/0"}))),
              ElementsAre("ip -4 address add 10.0.0.1/24 dev wg0", "ip link set mtu 1380 up dev wg0"));
}

TEST(Plan, WorksOutTheMtuAsWgQuickDoes) {
  for (const auto& [path, mtu] : std::vector<std::pair<uint32_t, uint32_t>>{
           {0, 1420}, {1500, 1420}, {9000, 8920}, {1280, 1200}, {100, 68}, {0xffffffff, 0xffffffff - 80}}) {
    Facts given = facts();
    given.path_mtu = path;
    EXPECT_EQ(plan({}, given, {}).at(0).number, mtu) << path;
  }
}

TEST(Plan, ForwardsAndMasquerades) {
  Settings settings;
  settings.forward = true;
  settings.masquerade = {"eth0", "wlan0"};
  const std::vector<Step> steps = plan(settings, facts(), {});
  EXPECT_THAT(lines(steps),
              ElementsAre("ip link set mtu 1420 up dev wg0", "sysctl -q net.ipv4.ip_forward=1",
                          "sysctl -q net.ipv6.conf.all.forwarding=1", "nft add table inet culvert-nat-wg0"));
  EXPECT_THAT(steps.back().text, HasSubstr("iifname \"wg0\" oifname \"eth0\" masquerade; iifname \"wg0\" oifname "
                                           "\"wlan0\" masquerade;"));
}

TEST(Plan, NamesTablesAsNftablesTakesThem) {
  Settings settings;
  settings.masquerade = {"eth0"};
  Facts odd = facts();
  odd.interface_name = "a+b=c.d-e_f";
  const std::vector<Step> steps = plan(settings, odd, {});
  EXPECT_EQ(steps.back().name, "inet culvert-nat-a/plus/b/is/c.d-e_f");
  EXPECT_THAT(steps.back().text, HasSubstr("iifname \"a+b=c.d-e_f\""));
}

TEST(Plan, KeepsListeningToRoutersBeforeItForwards) {
  Settings settings;
  Facts with_router = facts();
  with_router.router_interfaces = {"eth0.7"};
  EXPECT_THAT(lines(plan(settings, with_router, {})), ElementsAre("ip link set mtu 1420 up dev wg0"));
  settings.forward = true;
  EXPECT_THAT(lines(plan(settings, with_router, {})),
              ElementsAre("ip link set mtu 1420 up dev wg0", "sysctl -q net.ipv4.ip_forward=1",
                          "sysctl -q net/ipv6/conf/eth0.7/accept_ra=2", "sysctl -q net.ipv6.conf.all.forwarding=1"));
}

TEST(Difference, UndoesWhatWentAndDoesWhatCame) {
  Settings before, after;
  before.addresses = prefixes({"10.0.0.1/24", "10.9.0.1/24"});
  before.dns_servers = {"10.0.0.53"};
  before.mtu = 1400;
  after.addresses = prefixes({"10.0.0.1/24"});
  after.mtu = 1300;
  const Difference change = difference(plan(before, facts(), prefixes({"10.1.0.0/16", "10.2.0.0/16"})),
                                       plan(after, facts(), prefixes({"10.2.0.0/16", "10.3.0.0/16"})));
  EXPECT_THAT(lines(change.go), ElementsAre("ip link set mtu 1300 up dev wg0", "ip -4 route add 10.3.0.0/16 dev wg0"));
  EXPECT_THAT(lines(change.undo),
              ElementsAre("ip -4 route add 10.1.0.0/16 dev wg0", "resolvconf -a wg0 with nameserver 10.0.0.53",
                          "ip -4 address add 10.9.0.1/24 dev wg0"));
}

TEST(Difference, IsNothingBetweenEqualPlans) {
  Settings settings;
  settings.addresses = prefixes({"10.2.0.2/32"});
  const std::vector<Step> steps = plan(settings, facts(), prefixes({"0.0.0.0/0", "::/0"}));
  Facts later = facts();
  later.fwmark = 51820;  // by our own step
  const Difference change = difference(steps, plan(settings, later, prefixes({"0.0.0.0/0", "::/0"})));
  EXPECT_THAT(change.go, IsEmpty());
  EXPECT_THAT(change.undo, IsEmpty());
}

TEST(Step, ComesBackFromTheJournal) {
  Settings settings;
  settings.dns_servers = {"10.2.0.1"};
  settings.masquerade = {"eth0"};
  int survivors = 0;
  for (const Step& step : plan(settings, facts(), prefixes({"0.0.0.0/0", "::/0"}))) {
    if (!outlives_interface(step)) continue;
    Step back{.kind = Step::Kind::link};
    ASSERT_TRUE(from_journal(to_journal(step), back)) << to_journal(step);
    EXPECT_EQ(back.kind, step.kind);
    EXPECT_EQ(to_journal(back), to_journal(step));
    ++survivors;
  }
  EXPECT_EQ(survivors, 8);
}

TEST(Step, IsNotMadeOfABrokenJournal) {
  Step step{.kind = Step::Kind::link};
  for (const char* line :
       {"", "rule", "rule 4", "rule 5 1", "rule 4 0", "rule 4 x", "rule 4 99999999999", "suppress", "suppress 4 4",
        "firewall", "firewall ip", "firewall ip a;b", "firewall ip a b", "dns 4", "x"})
    EXPECT_FALSE(from_journal(line, step)) << line;
}

TEST(ExpandHook, PutsTheNameForEachMark) {
  EXPECT_EQ(expand_hook("a %i b%i %% %", "wg0"), "a wg0 bwg0 %% %");
  EXPECT_EQ(expand_hook("%i", "wg0"), "wg0");
  EXPECT_EQ(expand_hook("", "wg0"), "");
}

}  // namespace
}  // namespace culvert::host
