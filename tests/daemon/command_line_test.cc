#include "src/daemon/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert::daemon {
namespace {

using ::testing::HasSubstr;

TEST(CommandLine, Runs) {
  struct Case {
    const char* name;
    std::vector<std::string> arguments;
    bool foreground;
    const char* config_path;
    const char* interface_name;
  };
  const std::vector<Case> cases = {
      {"a name alone", {"wg0"}, false, "", "wg0"},
      {"-f before the name", {"-f", "wg0"}, true, "", "wg0"},
      {"-f after the name", {"wg0", "-f"}, true, "", "wg0"},
      {"--foreground", {"--foreground", "wg0"}, true, "", "wg0"},
      {"--config with a space", {"--config", "/etc/wg.conf", "wg0"}, false, "/etc/wg.conf", "wg0"},
      {"--config with an equals sign", {"--config=x.conf", "-f", "wg0"}, true, "x.conf", "wg0"},
      {"the longest name", {"abcdefghijklmno"}, false, "", "abcdefghijklmno"},
      {"a name with a dot, a dash, a percent sign and an equals sign", {"a.b-c%=d"}, false, "", "a.b-c%=d"},
      {"a name that is a number", {"0"}, false, "", "0"},
      {"a name with a dash in front", {"--", "-f"}, false, "", "-f"},
      {"a name in UTF-8", {"tunnel\xc3\xa9"}, false, "", "tunnel\xc3\xa9"},
  };
  for (const Case& c : cases) {
    const CommandLineOutcome outcome = parse_command_line(c.arguments);
    EXPECT_TRUE(outcome.run) << c.name << ": " << outcome.output;
    EXPECT_EQ(outcome.command_line.foreground, c.foreground) << c.name;
    EXPECT_EQ(outcome.command_line.config_path, c.config_path) << c.name;
    EXPECT_EQ(outcome.command_line.interface_name, c.interface_name) << c.name;
  }
}

TEST(CommandLine, TakesSourcePorts) {
  EXPECT_FALSE(parse_command_line({"wg0"}).command_line.source_ports);
  EXPECT_EQ(parse_command_line({"--source-ports", "8", "wg0"}).command_line.source_ports, (io::SourcePorts{8, 0}));
  EXPECT_EQ(parse_command_line({"wg0", "--source-ports=40000-40007"}).command_line.source_ports,
            (io::SourcePorts{8, 40000}));
}

TEST(CommandLine, RefusesEveryWrongOne) {
  struct Case {
    const char* name;
    std::vector<std::string> arguments;
    const char* says;
  };
  const std::vector<Case> cases = {
      {"nothing", {}, "IFNAME is missing; name the interface to create, such as wg0"},
      {"only -f", {"-f"}, "IFNAME is missing"},
      {"two names", {"wg0", "wg1"}, "'wg1' is one argument too many; one culvert serves one interface, here 'wg0'"},
      {"an unknown option", {"--verbose", "wg0"}, "there is no option '--verbose'; the options are --foreground"},
      {"an unknown option alone", {"--verbose"}, "there is no option '--verbose'"},
      {"an unknown option behind the name", {"wg0", "--verbose"}, "there is no option '--verbose'"},
      {"an unknown letter", {"-x", "wg0"}, "there is no option '-x'"},
      {"an unknown letter alone", {"-x"}, "there is no option '-x'"},
      {"an unknown letter behind a known one", {"-fx", "wg0"}, "there is no option '-x'"},
      {"--config without a file", {"wg0", "--config"}, "--config needs a FILE"},
      {"--config twice", {"--config", "a", "--config", "b", "wg0"}, "--config is given twice"},
      {"--config that took the name",
       {"--config", "wg0"},
       "IFNAME is missing; 'wg0' was taken as the FILE of --config"},
      {"--source-ports without a number", {"wg0", "--source-ports"}, "--source-ports takes one number or range"},
      {"--source-ports that are none", {"wg0", "--source-ports", "9-8"}, "--source-ports '9-8' is neither a number"},
      {"no number of workers", {"wg0", "--workers"}, "--workers needs a number"},
      {"two numbers of workers", {"--workers", "2", "--workers", "3", "wg0"}, "--workers is given twice"},
      {"a wrong number of workers", {"--workers", "0", "wg0"}, "--workers '0' is no number of workers"},
      {"a wrong list of CPUs", {"--workers", "0-3,2", "wg0"}, "use auto, 1 to 128, or a list"},
      {"--dpdk without arguments", {"wg0", "--dpdk"}, "--dpdk needs one value, in quotes where it has blanks"},
      {"--dpdk twice", {"--dpdk", "a", "--dpdk", "b", "wg0"}, "--dpdk needs one value"},
      {"a port without DPDK", {"--outer-port", "net_memif0", "wg0"}, "--outer-port needs --dpdk ARGUMENTS"},
      {"busy polling without DPDK", {"--busy-poll", "wg0"}, "--busy-poll needs --dpdk ARGUMENTS"},
      {"a wrong port", {"--dpdk", "", "--inner-port", "p mtu=1", "wg0"}, "--inner-port: 'mtu=1' is wrong"},
      {"an empty name", {""}, "is empty"},
      {"a name that is too long", {"abcdefghijklmnop"}, "16 characters; Linux allows 15"},
      {"a name with a slash", {"../wg0"}, "holds a '/'"},
      {"a name with a space", {"wg 0"}, "a space"},
      {"a name with a tab", {"wg\t0"}, "a space"},
      {"a name with a colon", {"wg:0"}, "a ':'"},
      {"one dot", {"."}, "directory"},
      {"two dots", {".."}, "directory"},
  };
  for (const Case& c : cases) {
    const CommandLineOutcome outcome = parse_command_line(c.arguments);
    EXPECT_FALSE(outcome.run) << c.name;
    EXPECT_EQ(outcome.exit_code, 2) << c.name;
    EXPECT_THAT(outcome.output, HasSubstr(c.says)) << c.name;
    EXPECT_THAT(outcome.output, HasSubstr("Usage: culvert [OPTIONS] IFNAME")) << c.name;
  }
}

TEST(CommandLine, TakesWorkers) {
  EXPECT_FALSE(parse_command_line({"wg0"}).command_line.workers.has_value());
  EXPECT_EQ(parse_command_line({"--workers", "4", "wg0"}).command_line.workers->count, 4u);
  EXPECT_EQ(parse_command_line({"wg0", "--workers=0-1"}).command_line.workers->cpus, (std::vector<int>{0, 1}));
}

TEST(CommandLine, TakesPortsOfDpdk) {
  EXPECT_FALSE(parse_command_line({"wg0"}).command_line.dpdk.has_value());
  const CommandLineOutcome all = parse_command_line({"--dpdk", "--no-huge -m 64", "--outer-port", "net_memif0 mtu=9000",
                                                     "--inner-port=net_memif1", "--busy-poll", "wg0"});
  ASSERT_TRUE(all.run) << all.output;
  EXPECT_EQ(all.command_line.dpdk->arguments, "--no-huge -m 64");
  EXPECT_EQ(all.command_line.dpdk->outer->mtu, 9000u);
  EXPECT_EQ(all.command_line.dpdk->inner->name, "net_memif1");
  EXPECT_TRUE(all.command_line.dpdk->busy_poll);
  const CommandLineOutcome least = parse_command_line({"--dpdk", "", "wg0"});
  ASSERT_TRUE(least.run) << least.output;
  EXPECT_EQ(least.command_line.dpdk, device::DpdkRequest());
}

TEST(CommandLine, PrintsHelpAndVersion) {
  for (const char* word : {"--help", "-h"}) {
    const CommandLineOutcome help = parse_command_line({word});
    EXPECT_FALSE(help.run);
    EXPECT_EQ(help.exit_code, 0);
    for (const char* part :
         {"--foreground", "--config FILE", "--source-ports PORTS", "--version", "LOG_LEVEL", "CULVERT_METRICS"})
      EXPECT_THAT(help.output, HasSubstr(part));
  }
  const CommandLineOutcome version = parse_command_line({"--version"});
  EXPECT_FALSE(version.run);
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, ::testing::MatchesRegex("culvert [0-9.]+([~+][0-9]+.g[0-9a-f]+)?\n"));
}

}  // namespace
}  // namespace culvert::daemon
