// `lab_traffic handshakes` against a responder in this test, over loopback.
#include "bench/traffic/handshakes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "bench/traffic/clock.h"
#include "bench/traffic/sockets.h"
#include "io/udp_message.h"
#include "src/device/encoding.h"
#include "tests/traffic/program.h"
#include "tests/traffic/responder.h"

namespace culvert::traffic {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Serves a Responder on a UDP port of loopback until it goes out of scope.
class Server {
 public:
  explicit Server(const std::string& address)
      : socket_(std::move(*open_bound(*parse_address(address, 0), SOCK_DGRAM))) {
    io::SocketAddress bound{};
    socklen_t length = sizeof bound;
    ::getsockname(socket_.get(), &bound.any, &length);
    port = io::remote_of(bound).port;
  }
  ~Server() {
    ended_.store(true, std::memory_order_relaxed);
    if (thread_.joinable()) thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The peers of a file as `wg addconf` reads it; returns how many.
  size_t add_peers(const std::string& path) {
    std::ifstream file(path);
    size_t count = 0;
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("PublicKey = ", 0) != 0) continue;
      const auto key = device::key_from_base64(line.substr(12));
      count += key && responder.add_peer({*key});
    }
    return count;
  }

  void start(bool wants_cookies) {
    thread_ = std::thread([this, wants_cookies] {
      while (!ended_.load(std::memory_order_relaxed)) serve(wants_cookies);
    });
  }

  Responder responder;
  uint16_t port = 0;

 private:
  void serve(bool wants_cookies) {
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 20) != 1) return;
    uint8_t message[256];
    io::SocketAddress from{};
    socklen_t length = sizeof from;
    const ssize_t count = ::recvfrom(socket_.get(), message, sizeof message, 0, &from.any, &length);
    if (count <= 0) return;
    const io::Endpoint endpoint = io::remote_of(from);
    std::vector<uint8_t> source(endpoint.remote.bytes.begin(), endpoint.remote.bytes.end());
    source.push_back(static_cast<uint8_t>(endpoint.port >> 8));
    source.push_back(static_cast<uint8_t>(endpoint.port));
    const auto answer = responder.answer({message, static_cast<size_t>(count)}, source, wants_cookies,
                                         protocol::Instant(std::chrono::nanoseconds(now_ns())));
    if (!answer.empty()) ::sendto(socket_.get(), answer.data(), answer.size(), 0, &from.any, length);
  }

  io::Fd socket_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

std::string peers_path() {
  return "/tmp/lab_traffic_peers_" + std::to_string(::getpid());
}

TEST(Handshakes, AreAnsweredAndCounted) {
  struct Case {
    const char* name;
    const char* address;
    const char* sources;  // "": none
    bool wants_cookies;
  };
  const Case cases[] = {
      {"from one address", "127.0.0.1", "", false},
      {"from many addresses", "127.0.0.1", "127.64.0.0/10", false},
      {"over IPv6", "::1", "", false},
      {"from one address, with cookies", "127.0.0.1", "", true},
      {"from many addresses, with cookies", "127.0.0.1", "127.64.0.0/10", true},
  };
  for (const Case& c : cases) {
    Server server(c.address);
    std::vector<std::string> arguments = {"handshakes",
                                          "--config",
                                          peers_path(),
                                          "--peers",
                                          "20",
                                          "--seconds",
                                          "0.5",
                                          "--key-of-server",
                                          device::to_base64(server.responder.public_key().bytes)};
    if (*c.sources != 0) arguments.insert(arguments.end(), {"--sources", c.sources});
    Program player(arguments);
    ASSERT_EQ(player.line(), "ready") << c.name;
    EXPECT_EQ(server.add_peers(peers_path()), 20U) << c.name;
    server.start(c.wants_cookies);
    player.say("go " + std::string(c.address) + ' ' + std::to_string(server.port));
    const json result = player.result();
    EXPECT_GT(result["responses"], 20) << c.name;
    EXPECT_EQ(result["cookies"] > 0, c.wants_cookies) << c.name;
    EXPECT_GE(result["initiations"], result["responses"].get<int>() + result["cookies"].get<int>()) << c.name;
    EXPECT_GT(result["per_second"], 0) << c.name;
    EXPECT_GE(result["seconds"], 0.5) << c.name;
    std::remove(peers_path().c_str());
  }
}

TEST(Handshakes, FailInOneLineThatHelps) {
  struct Case {
    const char* name;
    const char* line;
    const char* says;
  };
  const Case cases[] = {
      {"another word", "start 127.0.0.1 5", "go ADDR PORT"},
      {"no port", "go 127.0.0.1", "go ADDR PORT"},
      {"a name", "go localhost 51820", "'localhost' is no IP address"},
      {"sources of another family", "go ::1 51820", "both be IPv4 or both IPv6"},
  };
  for (const Case& c : cases) {
    Program player({"handshakes", "--config", peers_path(), "--peers", "1", "--sources", "127.0.0.0/8",
                    "--key-of-server", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="});
    ASSERT_EQ(player.line(), "ready") << c.name;
    player.say(c.line);
    EXPECT_THAT(player.complaints(), HasSubstr(c.says)) << c.name;
    EXPECT_EQ(player.wait(), 1) << c.name;
    std::remove(peers_path().c_str());
  }
}

}  // namespace
}  // namespace culvert::traffic
