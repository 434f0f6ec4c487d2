#include "src/host/name_servers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert::host {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

TEST(NameServers, AreSetByResolvconfAsWgQuickDoes) {
  const auto commands =
      set_dns_commands(DnsProgram::resolvconf, "tun.", "wg0", {"10.0.0.53", "fd00::53"}, {"a.b", "c"});
  ASSERT_THAT(commands, SizeIs(1));
  EXPECT_THAT(commands[0].words, ElementsAre("resolvconf", "-a", "tun.wg0", "-m", "0", "-x"));
  EXPECT_EQ(commands[0].input, "nameserver 10.0.0.53\nnameserver fd00::53\nsearch a.b c\n");
  const auto back = unset_dns_commands(DnsProgram::resolvconf, "tun.", "wg0");
  ASSERT_THAT(back, SizeIs(1));
  EXPECT_THAT(back[0].words, ElementsAre("resolvconf", "-d", "tun.wg0", "-f"));
}

TEST(NameServers, AreSetByResolvectlForTheWholeHost) {
  const auto commands = set_dns_commands(DnsProgram::resolvectl, "", "wg0", {"10.0.0.53"}, {"a.b"});
  ASSERT_THAT(commands, SizeIs(2));
  EXPECT_THAT(commands[0].words, ElementsAre("resolvectl", "dns", "wg0", "10.0.0.53"));
  EXPECT_THAT(commands[1].words, ElementsAre("resolvectl", "domain", "wg0", "~.", "a.b"));
}

TEST(NameServers, GoUnderThePrefixThatOrdersInterfaces) {
  EXPECT_EQ(resolvconf_prefix("lo*\ntun*\n"), "lo.");
  EXPECT_EQ(resolvconf_prefix("# comment\nlo.@(dhclient)\ntun-4*\n"), "tun-4.");
  EXPECT_EQ(resolvconf_prefix(""), "");
}

}  // namespace
}  // namespace culvert::host
