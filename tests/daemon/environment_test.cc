#include "src/daemon/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace culvert::daemon {
namespace {

using ::testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

io::Result<Environment> parse(const Variables& variables) {
  return parse_environment([&variables](const char* name) -> const char* {
    const auto at = variables.find(name);
    return at == variables.end() ? nullptr : at->second.c_str();
  });
}

TEST(Environment, HasDefaults) {
  for (const Variables& variables :
       {Variables{}, Variables{{"LOG_LEVEL", ""}, {"WG_TUN_FD", ""}, {"CULVERT_GSO", ""}, {"CULVERT_METRICS", ""}}}) {
    const auto environment = parse(variables);
    ASSERT_TRUE(environment);
    EXPECT_EQ((*environment).log_level, LogLevel::error);
    EXPECT_FALSE((*environment).keep_output);
    EXPECT_FALSE((*environment).tun_fd);
    EXPECT_FALSE((*environment).uapi_fd);
    EXPECT_FALSE((*environment).foreground);
    EXPECT_TRUE((*environment).gso && (*environment).gro);
    EXPECT_TRUE((*environment).tun_offload && (*environment).tun_tso);
    EXPECT_TRUE((*environment).tun_uso && (*environment).tun_join);
    EXPECT_TRUE((*environment).short_queues);
    EXPECT_EQ((*environment).tun_engine, io::Engine::automatic);
    EXPECT_EQ((*environment).udp_engine, io::Engine::automatic);
    EXPECT_FALSE((*environment).metrics);
    EXPECT_EQ((*environment).aead, "");
    EXPECT_TRUE((*environment).warnings.empty());
  }
}

TEST(Environment, ReadsEveryVariable) {
  const auto environment = parse({{"LOG_LEVEL", "debug"},
                                  {"WG_TUN_FD", "3"},
                                  {"WG_UAPI_FD", "4"},
                                  {"WG_PROCESS_FOREGROUND", "1"},
                                  {"CULVERT_GSO", "off"},
                                  {"CULVERT_GRO", "off"},
                                  {"CULVERT_TUN_OFFLOAD", "off"},
                                  {"CULVERT_TUN_TSO", "off"},
                                  {"CULVERT_TUN_USO", "off"},
                                  {"CULVERT_TUN_JOIN", "off"},
                                  {"CULVERT_SHORT_QUEUES", "off"},
                                  {"CULVERT_TUN_ENGINE", "epoll"},
                                  {"CULVERT_UDP_ENGINE", "io_uring"},
                                  {"CULVERT_LISTEN", "40000-40999 2001:db8::/64"},
                                  {"CULVERT_METRICS", "[::1]:9586"},
                                  {"CULVERT_AEAD", "portable"}});
  ASSERT_TRUE(environment);
  EXPECT_EQ((*environment).log_level, LogLevel::verbose);
  EXPECT_TRUE((*environment).keep_output);
  EXPECT_EQ((*environment).tun_fd, 3);
  EXPECT_EQ((*environment).uapi_fd, 4);
  EXPECT_TRUE((*environment).foreground);
  EXPECT_FALSE((*environment).gso || (*environment).gro);
  EXPECT_FALSE((*environment).tun_offload || (*environment).tun_tso);
  EXPECT_FALSE((*environment).tun_uso || (*environment).tun_join);
  EXPECT_FALSE((*environment).short_queues);
  EXPECT_EQ((*environment).tun_engine, io::Engine::epoll);
  EXPECT_EQ((*environment).udp_engine, io::Engine::io_uring);
  EXPECT_EQ((*environment).listen, io::parse_wide_range("40000-40999 2001:db8::/64"));
  EXPECT_EQ((*environment).metrics->text(), "[::1]:9586");
  EXPECT_TRUE((*environment).metrics->each_peer);
  EXPECT_EQ((*environment).aead, "portable");
}

TEST(Environment, ReadsWhereMetricsAreServed) {
  struct Case {
    const char* value;
    const char* text;  // "" when refused
    bool exposed;
  };
  const std::vector<Case> cases = {
      {"9586", "127.0.0.1:9586", false},
      {"127.0.0.2:9586", "127.0.0.2:9586", false},
      {"[::1]:9586", "[::1]:9586", false},
      {"0.0.0.0:9586", "0.0.0.0:9586", true},
      {"[::]:9586", "[::]:9586", true},
      {"192.0.2.1:9586", "192.0.2.1:9586", true},
      {"unix:/run/m.sock", "unix:/run/m.sock", false},
      {"unix:m.sock", "", false},
      {"65536", "", false},
      {"localhost:9586", "", false},
  };
  for (const Case& c : cases) {
    const auto environment = parse({{"CULVERT_METRICS", c.value}, {"CULVERT_METRICS_PEERS", "off"}});
    ASSERT_EQ(static_cast<bool>(environment), c.text[0] != 0) << c.value;
    if (!environment) continue;
    EXPECT_EQ((*environment).metrics->text(), c.text) << c.value;
    EXPECT_EQ((*environment).metrics->is_exposed(), c.exposed) << c.value;
    EXPECT_FALSE((*environment).metrics->each_peer);
  }
}

TEST(Environment, ReadsLogLevelsAsWireguardGoDoes) {
  struct Case {
    const char* word;
    LogLevel level;
    bool keep_output;
    size_t warnings;
  };
  for (const Case& c : std::vector<Case>{{"verbose", LogLevel::verbose, true, 0},
                                         {"debug", LogLevel::verbose, true, 0},
                                         {"error", LogLevel::error, true, 0},
                                         {"silent", LogLevel::silent, false, 0},
                                         {"info", LogLevel::error, true, 1}}) {
    const auto environment = parse({{"LOG_LEVEL", c.word}});
    ASSERT_TRUE(environment) << c.word;
    EXPECT_EQ((*environment).log_level, c.level) << c.word;
    EXPECT_EQ((*environment).keep_output, c.keep_output) << c.word;
    EXPECT_EQ((*environment).warnings.size(), c.warnings) << c.word;
  }
}

TEST(Environment, ReadsSourcePorts) {
  EXPECT_EQ((*parse({})).source_ports, io::SourcePorts());
  EXPECT_EQ((*parse({{"CULVERT_SOURCE_PORTS", "8"}})).source_ports, (io::SourcePorts{8, 0}));
  EXPECT_EQ((*parse({{"CULVERT_SOURCE_PORTS", "40000-40007"}})).source_ports, (io::SourcePorts{8, 40000}));
}

TEST(Environment, StaysInTheBackgroundUnlessToldOne) {
  for (const char* value : {"0", "true", "2"}) {
    const auto environment = parse({{"WG_PROCESS_FOREGROUND", value}});
    ASSERT_TRUE(environment);
    EXPECT_FALSE((*environment).foreground) << value;
  }
}

TEST(Environment, SaysWhatIsWrongWhereAndHowToMendIt) {
  struct Case {
    const char* name;
    const char* value;
    const char* mend;
  };
  const std::vector<Case> cases = {
      {"WG_TUN_FD", "x", "file descriptor"},
      {"WG_TUN_FD", "-1", "file descriptor"},
      {"WG_UAPI_FD", "3 ", "file descriptor"},
      {"WG_UAPI_FD", "99999999999", "file descriptor"},
      {"CULVERT_GSO", "0", "'off' or 'on'"},
      {"CULVERT_GRO", "OFF", "'off' or 'on'"},
      {"CULVERT_TUN_OFFLOAD", "false", "'off' or 'on'"},
      {"CULVERT_TUN_TSO", "None", "'off' or 'on'"},
      {"CULVERT_TUN_USO", "no", "'off' or 'on'"},
      {"CULVERT_TUN_JOIN", "1", "'off' or 'on'"},
      {"CULVERT_SHORT_QUEUES", "0", "'off' or 'on'"},
      {"CULVERT_TUN_ENGINE", "uring", "'auto' (the default), 'epoll' or 'io_uring'"},
      {"CULVERT_UDP_ENGINE", "on", "'auto' (the default), 'epoll' or 'io_uring'"},
      {"CULVERT_SOURCE_PORTS", "0", "40000-40007"},
      {"CULVERT_SOURCE_PORTS", "8 ports", "40000-40007"},
      {"CULVERT_WORKERS", "0", "'auto', a number from 1 to 128"},
      {"CULVERT_WORKERS", "1-", "a list of different CPUs such as 0-3,8"},
      {"CULVERT_LISTEN", "wide", "'40000-49999 198.51.100.0/24'"},
      {"CULVERT_LISTEN", "49999-40000", "a range of ports"},
      {"CULVERT_METRICS", ":9586", "127.0.0.1:9586"},
      {"CULVERT_METRICS", "localhost:9586", "numeric address"},
      {"CULVERT_METRICS", "127.0.0.1:65536", "127.0.0.1:9586"},
      {"CULVERT_METRICS", "127.0.0.1", "127.0.0.1:9586"},
  };
  for (const Case& c : cases) {
    const auto environment = parse({{c.name, c.value}});
    ASSERT_FALSE(environment) << c.name << "=" << c.value;
    EXPECT_THAT(environment.error().text(), HasSubstr(std::string(c.name) + "='" + c.value + "'"));
    EXPECT_THAT(environment.error().text(), HasSubstr(c.mend));
  }
}

}  // namespace
}  // namespace culvert::daemon
