// The whole program, over loopback. Nothing here depends on how fast it is.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstdlib>
#include <string>

#include "bench/traffic/control.h"
#include "bench/traffic/sockets.h"
#include "io/udp_message.h"
#include "tests/traffic/program.h"

namespace culvert::traffic {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A port that nobody has a socket of this type on.
std::string free_port(const std::string& address, int type) {
  const auto socket = open_bound(*parse_address(address, 0), type);
  io::SocketAddress bound{};
  socklen_t length = sizeof bound;
  ::getsockname(socket->get(), &bound.any, &length);
  return std::to_string(io::remote_of(bound).port);
}

class SinkProgram {
 public:
  explicit SinkProgram(const std::string& address)
      : port(free_port(address, SOCK_DGRAM)),
        control("/tmp/lab_traffic_" + std::to_string(::getpid())),
        program({"sink", "--bind", address, "--port", port, "--control", control}) {
    EXPECT_EQ(program.line(), "ready");
  }

  json ask(const char* line) const {
    auto client = ControlClient::connect(control);
    if (!client) return {};
    return json::parse(*client->ask(line), nullptr, false);
  }

  // Once `datagrams` are there; loopback drops nothing that the sink's buffer has room for.
  json report_of(uint64_t datagrams) const {
    for (;;) {
      json report = ask("report");
      if (report.value("datagrams", datagrams) >= datagrams || report.value("overflows", 1) != 0) return report;
      ::usleep(10'000);
    }
  }

  const std::string port;
  const std::string control;
  Program program;
};

TEST(LabTraffic, SinkCountsWhatUdpSends) {
  struct Case {
    const char* name;
    const char* address;
    const char* size;
    std::vector<std::string> more;
  };
  const Case cases[] = {
      {"small datagrams", "127.0.0.1", "64", {"--rate", "20000"}},
      {"small datagrams over IPv6", "::1", "64", {"--rate", "20000"}},
      {"superpackets", "127.0.0.1", "1372", {"--rate", "50000", "--gso"}},
      {"superpackets over IPv6", "::1", "1372", {"--rate", "50000", "--gso"}},
      {"IMIX", "127.0.0.1", "imix", {"--rate", "20000"}},
      {"IMIX over IPv6, in superpackets", "::1", "imix", {"--rate", "50000", "--gso"}},
      {"eight flows", "127.0.0.1", "300", {"--rate", "20000", "--flows", "8"}},
      {"datagrams with a header alone", "127.0.0.1", "16", {"--rate", "10000"}},
      {"the longest datagrams", "127.0.0.1", "65507", {"--rate", "500", "--gso"}},
  };
  for (const Case& c : cases) {
    SinkProgram sink(c.address);
    std::vector<std::string> arguments = {"udp",    "--to", c.address,   "--port", sink.port,
                                          "--size", c.size, "--seconds", "0.2"};
    arguments.insert(arguments.end(), c.more.begin(), c.more.end());
    const json sent = Program(arguments).result();
    EXPECT_GT(sent["datagrams"], 0) << c.name;
    EXPECT_GT(sent["system_calls"], 0) << c.name;
    EXPECT_GE(sent["seconds"], 0.2) << c.name;
    EXPECT_TRUE(sent.contains("stalls")) << c.name;
    const json report = sink.report_of(sent["datagrams"]);
    EXPECT_EQ(report["datagrams"], sent["datagrams"]) << c.name;
    EXPECT_EQ(report["bytes"], sent["bytes"]) << c.name;
    EXPECT_LE(report["messages"], report["datagrams"]) << c.name;
    for (const char* zero : {"lost", "reordered", "duplicates", "overflows"})
      EXPECT_EQ(report[zero], 0) << c.name << zero;
    EXPECT_EQ(sink.ask("reset")["datagrams"], 0) << c.name;
    sink.program.terminate();
    EXPECT_EQ(sink.program.result()["datagrams"], 0) << c.name;
  }
}

TEST(LabTraffic, SendsAsFastAsItGoes) {
  const SinkProgram sink("127.0.0.1");
  const json sent =
      Program({"udp", "--to", "127.0.0.1", "--port", sink.port, "--size", "64", "--gso", "--seconds", "0.1"}).result();
  EXPECT_GT(sent["datagrams"], sent["system_calls"]);
  const json report = sink.report_of(sent["datagrams"]);
  EXPECT_LE(report["datagrams"], sent["datagrams"]);
  EXPECT_EQ(report["duplicates"], 0);
}

TEST(LabTraffic, SearchFindsARate) {
  for (const std::string size : {"64", "imix"}) {
    const SinkProgram sink("::1");
    const json found = Program({"search", "--to", "::1", "--port", sink.port, "--control", sink.control, "--size", size,
                                "--trial", "0.05", "--resolution", "0.3", "--loss", "0.01"})
                           .result();
    EXPECT_GT(found["pps"], 0) << size;
    EXPECT_GT(found["gbps"], 0) << size;
    ASSERT_FALSE(found["trials"].empty()) << size;
    for (const json& trial : found["trials"]) {
      EXPECT_GT(trial["pps"], 0) << size;
      EXPECT_GE(trial["sent"], trial["received"]) << size;
    }
  }
}

TEST(LabTraffic, EchoServesRequestsAndConnections) {
  struct Case {
    const char* name;
    const char* address;
    std::vector<std::string> words;
  };
  const Case cases[] = {
      {"requests", "127.0.0.1", {"rr"}},
      {"requests over IPv6", "::1", {"rr"}},
      {"long requests", "127.0.0.1", {"rr", "--size", "1000000"}},
      {"connections", "127.0.0.1", {"crr"}},
      {"connections over IPv6", "::1", {"crr"}},
  };
  for (const Case& c : cases) {
    const std::string port = free_port(c.address, SOCK_STREAM);
    Program echo({"echo", "--bind", c.address, "--port", port});
    ASSERT_EQ(echo.line(), "ready") << c.name;
    std::vector<std::string> arguments = c.words;
    for (const char* word : {"--to", c.address, "--port", port.c_str(), "--seconds", "0.2"})
      arguments.emplace_back(word);
    const json timed = Program(arguments).result();
    EXPECT_GT(timed["transactions"], 0) << c.name;
    EXPECT_GE(timed["seconds"], 0.2) << c.name;
    EXPECT_GT(timed["mean_us"], 0) << c.name;
    EXPECT_LE(timed["p50_us"], timed["p99_us"]) << c.name;
    EXPECT_LE(timed["p99_us"], timed["p999_us"]) << c.name;
    EXPECT_LE(timed["p999_us"], timed["max_us"]) << c.name;
    echo.terminate();
    EXPECT_EQ(echo.wait(), 0) << c.name;
  }
}

TEST(LabTraffic, FailsInOneLineThatHelps) {
  struct Case {
    const char* name;
    std::vector<std::string> arguments;
    const char* says;
    int status;
  };
  const std::string port = free_port("127.0.0.1", SOCK_STREAM);
  const Case cases[] = {
      {"nobody echoes", {"rr", "--to", "127.0.0.1", "--port", port, "--seconds", "1"}, "nothing listens there", 1},
      {"an address of somebody else", {"echo", "--bind", "192.0.2.1", "--port", port}, "ip address", 1},
      {"no sink to search with",
       {"search", "--to", "127.0.0.1", "--port", port, "--control", "/tmp/lab_traffic_nobody", "--size", "64"},
       "lab_traffic sink",
       1},
      {"no command", {}, "--help", 2},
  };
  for (const Case& c : cases) {
    Program program(c.arguments);
    EXPECT_EQ(program.line(), "") << c.name;
    const std::string complaint = program.complaints();
    EXPECT_THAT(complaint, HasSubstr(c.says)) << c.name;
    EXPECT_EQ(complaint.find('\n'), complaint.size() - 1) << c.name << ": " << complaint;
    EXPECT_EQ(program.wait(), c.status) << c.name;
  }
}

TEST(LabTraffic, UdpSaysThatNobodyReceives) {
  const std::string port = free_port("127.0.0.1", SOCK_DGRAM);
  Program program({"udp", "--to", "127.0.0.1", "--port", port, "--size", "64", "--seconds", "10"});
  EXPECT_THAT(program.complaints(), HasSubstr("start `lab_traffic sink` first"));
  EXPECT_EQ(program.wait(), 1);
}

}  // namespace
}  // namespace culvert::traffic
