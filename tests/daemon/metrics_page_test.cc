#include "src/daemon/metrics_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/daemon/metrics.h"
#include "tests/daemon/fake_measured.h"

namespace culvert::daemon {
namespace {

using test::FakeMeasured;
using test::text_of;
using ::testing::HasSubstr;
using ::testing::Not;

FakeMeasured device_with(const std::string& name, size_t peers) {
  device::Metrics metrics;
  metrics.name = name;
  metrics.workers.resize(2);
  FakeMeasured device(std::move(metrics));
  for (size_t i = 0; i < peers; ++i) {
    device::PeerMetrics& peer = device.peers.emplace_back();
    peer.public_key[0] = static_cast<uint8_t>(i);
    peer.public_key[1] = static_cast<uint8_t>(i >> 8);
  }
  return device;
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// The names of the families, in the order of their samples, each time that another one begins.
std::vector<std::string> runs_of_families(const std::string& text) {
  std::vector<std::string> runs;
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    if (text[at] == '#') continue;
    std::string name = text.substr(at, text.find('{', at) - at);
    if (runs.empty() || runs.back() != name) runs.push_back(std::move(name));
  }
  return runs;
}

TEST(MetricsPage, TellsOfEachPeerOnceInEachFamilyAndOfEachFamilyAtOnce) {
  const FakeMeasured a = device_with("a", 2 * MetricsPage::kPeersInPiece), b = device_with("b", 0),
                     c = device_with("c", MetricsPage::kPeersInPiece + 1);
  const auto devices = [&] { return std::vector<const device::Measured*>{&a, &b, &c}; };
  const std::string text = text_of(MetricsPage(devices, true));
  for (const char* family : {"peer_info", "peer_sent_bytes_total", "peer_last_handshake_timestamp_seconds"}) {
    const std::string name = std::string("culvert_") + family;
    EXPECT_EQ(count_of(text, "# TYPE " + name + " "), 1u);
    EXPECT_EQ(count_of(text, name + "{device=\"a\""), a.peers.size());
    EXPECT_EQ(count_of(text, name + "{device=\"b\""), 0u);
    EXPECT_EQ(count_of(text, name + "{device=\"c\""), c.peers.size());
  }
  std::vector<std::string> runs = runs_of_families(text);
  const size_t all = runs.size();
  std::sort(runs.begin(), runs.end());
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  EXPECT_EQ(runs.size(), all) << "a family in two parts is none of the format";
  EXPECT_THAT(text_of(MetricsPage(devices, false)), Not(HasSubstr("culvert_peer_")));
}

TEST(MetricsPage, MakesFewPeersAtATime) {
  const FakeMeasured device = device_with("wg0", 10'000);
  MetricsPage page([&] { return std::vector<const device::Measured*>{&device}; }, true);
  const size_t first = page.next().size();
  size_t most = 0, pieces = 0;
  for (std::string piece = page.next(); !piece.empty(); piece = page.next(), ++pieces)
    most = std::max(most, count_of(piece, "public_key="));
  EXPECT_EQ(first, metrics_text(device.all).size());
  EXPECT_EQ(most, MetricsPage::kPeersInPiece);
  // The age of keypairs is of nobody here, and needs no more than its head.
  EXPECT_GE(pieces, (kPeerFamilies - 1) * 10'000 / MetricsPage::kPeersInPiece);
  EXPECT_EQ(page.next(), "");
}

TEST(MetricsPage, StandsPeersAndDevicesThatGoMeanwhile) {
  FakeMeasured a = device_with("a", 1000), b = device_with("b", 1000);
  std::vector<const device::Measured*> devices{&a, &b};
  MetricsPage page([&] { return devices; }, true);
  for (int i = 0; i < 3; ++i) EXPECT_NE(page.next(), "");
  a.peers.resize(10);
  EXPECT_THAT(page.next(), HasSubstr("device=\"b\""));
  devices.erase(devices.begin());
  EXPECT_THAT(page.next(), HasSubstr("device=\"b\""));
  devices.clear();
  EXPECT_EQ(page.next(), "");
}

}  // namespace
}  // namespace culvert::daemon
