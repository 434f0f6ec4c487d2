#include "src/daemon/metrics_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>

namespace culvert::daemon {
namespace {

using ::testing::HasSubstr;

io::Endpoint loopback(uint16_t port) {
  io::Endpoint endpoint;
  EXPECT_TRUE(io::parse_endpoint("127.0.0.1:" + std::to_string(port), endpoint));
  return endpoint;
}

TEST(MetricsServer, ServesWhatTheCallbackRenders) {
  std::atomic<int> rendered{0};
  auto server = MetricsServer::start(
      loopback(0), [&rendered] { return "culvert_rendered_total " + std::to_string(++rendered) + "\n"; });
  ASSERT_TRUE(server) << server.error().text();
  ASSERT_NE((*server)->port(), 0);
  httplib::Client client("127.0.0.1", (*server)->port());
  for (int i = 1; i <= 3; ++i) {
    const auto response = client.Get("/metrics");
    ASSERT_TRUE(response);
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->body, "culvert_rendered_total " + std::to_string(i) + "\n");
    EXPECT_THAT(response->get_header_value("Content-Type"), HasSubstr("text/plain; version=0.0.4"));
  }
  const auto other = client.Get("/");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->status, 404);
}

TEST(MetricsServer, SaysWhichAddressIsTaken) {
  auto first = MetricsServer::start(loopback(0), [] { return std::string(); });
  ASSERT_TRUE(first);
  const auto second = MetricsServer::start(loopback((*first)->port()), [] { return std::string(); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().number, EADDRINUSE) << second.error().text();
  EXPECT_THAT(second.error().text(), HasSubstr("127.0.0.1:" + std::to_string((*first)->port())));
  EXPECT_THAT(second.error().text(), HasSubstr("CULVERT_METRICS"));
}

TEST(MetricsServer, SaysWhichAddressIsNotOurs) {
  io::Endpoint endpoint;
  ASSERT_TRUE(io::parse_endpoint("192.0.2.77:9586", endpoint));
  const auto server = MetricsServer::start(endpoint, [] { return std::string(); });
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().number, EADDRNOTAVAIL) << server.error().text();
}

TEST(MetricsServer, StopsAtOnce) {
  auto server = MetricsServer::start(loopback(0), [] { return std::string(); });
  ASSERT_TRUE(server);
  const auto start = std::chrono::steady_clock::now();
  (*server).reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

}  // namespace
}  // namespace culvert::daemon
