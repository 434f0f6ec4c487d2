#include "src/host/name_servers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "tests/own_namespace.h"

namespace culvert::host {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
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

TEST(NameServers, AreRefusedWhereResolvconfWouldFailInSilence) {
  ASSERT_TRUE(test::enter_own_namespaces(CLONE_NEWNS));
  ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  char folder[] = "/tmp/culvert-names.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string file = std::string(folder) + "/resolv.conf";
  EXPECT_EQ(resolv_conf_refusal(file), "");
  ASSERT_EQ(::mount("none", folder, "tmpfs", MS_RDONLY, ""), 0) << std::strerror(errno);
  EXPECT_THAT(resolv_conf_refusal(file), HasSubstr("ReadWritePaths=" + std::string(folder)));
  ASSERT_EQ(::umount(folder), 0);
  ASSERT_EQ(::symlink("/run/systemd/resolve/stub-resolv.conf", file.c_str()), 0);
  EXPECT_EQ(resolv_conf_refusal(file), "");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace culvert::host
