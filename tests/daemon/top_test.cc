#include "src/daemon/top.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/fake_measured.h"

namespace culvert::daemon {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

// What a daemon with two workers and three peers says, after `second` seconds of steady traffic.
MetricFamilies after_seconds(uint64_t second) {
  device::Metrics metrics;
  metrics.name = "wg\"0";
  metrics.aead_engine = "avx2";
  metrics.link_up = true;
  metrics.workers.resize(2);
  for (uint64_t& counter : metrics.workers[1].counters) counter = 2000 * second;
  metrics.workers[0].drops[static_cast<size_t>(pipeline::DropReason::forged)] = 7 * second;
  metrics.outer_state.gso_active = true;
  metrics.peers = 3;
  std::vector<device::PeerMetrics> peers;
  for (uint8_t i = 0; i < 3; ++i) {
    device::PeerMetrics& peer = peers.emplace_back();
    peer.public_key.fill(i);
    peer.received_bytes = uint64_t{125'000} * i * second;
    peer.expected_messages = 100 * second;
    peer.received_messages = (100 - 10 * i) * second;
    peer.last_handshake_seconds = i == 0 ? 0 : 1000;
  }
  test::FakeMeasured device(std::move(metrics));
  device.peers = std::move(peers);
  return MetricFamilies(test::text_of(device));
}

TEST(MetricsReader, ReadsWhatIsWritten) {
  const MetricFamilies families = after_seconds(1);
  ASSERT_THAT(families.of("peer_received_bytes_total"), SizeIs(3));
  EXPECT_EQ(families.of("peer_received_bytes_total")[2].value, 250'000u);
  ASSERT_THAT(families.of("link_up"), SizeIs(1));
  EXPECT_EQ(families.of("link_up")[0].label("device"), "wg\"0");
  EXPECT_EQ(families.of("link_up")[0].written("device"), "wg\\\"0");
  EXPECT_EQ(families.of("link_up")[0].label("no_such"), "");
  EXPECT_THAT(families.of("no_such"), SizeIs(0));
}

TEST(MetricsReader, PassesOverWhatIsNoSample) {
  for (const char* text :
       {"", "\n", "culvert_", "culvert_a", "culvert_a{", "culvert_a{x", "culvert_a{x=", "culvert_a{x=\"",
        "culvert_a{x=\"\\", "culvert_a{x=\"1\"", "culvert_a{x=\"1\"}", "culvert_a{x=\"1\"} ", "culvert_a{x=\"1\"} y",
        "# HELP culvert_a{x=\"1\"} 5", "other{x=\"1\"} 5"})
    EXPECT_TRUE(MetricFamilies(text).empty()) << text;
}

TEST(MetricsReader, SaysWhenNobodyServes) {
  const auto text = fetch_metrics("/nonexistent/wg0.sock");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().number, ENOENT);
}

TEST(Top, ShowsRatesBetweenTwoLooks) {
  const auto lines = render_top(after_seconds(10), after_seconds(12), 2, 1060, 200, 0);
  EXPECT_THAT(lines[0], AllOf(StartsWith("wg\"0  up  3 peers  avx2"), HasSubstr("culvert ")));
  EXPECT_THAT(lines[1], AllOf(HasSubstr(" udp_segment"), HasSubstr("no-udp_gro")));
  EXPECT_THAT(lines, Contains(HasSubstr("forged 84 (7/s)")));
  EXPECT_THAT(lines, Contains(AllOf(StartsWith("     1"), HasSubstr("2.00k"))));
  // The busiest first.
  const auto peers =
      std::find_if(lines.begin(), lines.end(), [](const auto& line) { return line.starts_with("PEER"); });
  ASSERT_EQ(lines.end() - peers, 4);
  EXPECT_THAT(peers[1], AllOf(StartsWith("AgICAgIC..."), HasSubstr("2.00Mb/s"), HasSubstr("20.0%"), HasSubstr("60s")));
  EXPECT_THAT(peers[3], AllOf(StartsWith("AAAAAAAA..."), HasSubstr("0b/s"), HasSubstr("never"), HasSubstr("unknown")));
}

TEST(Top, FitsItsWidthAndLeavesPeersOut) {
  const auto lines = render_top(after_seconds(1), after_seconds(2), 1, 1060, 40, 15);
  EXPECT_THAT(lines, Each(SizeIs(::testing::Le(40u))));
  EXPECT_THAT(lines, SizeIs(15u));
  EXPECT_EQ(lines.back(), "and 1 more");
}

TEST(Top, FitsItsHeightWhateverThereIs) {
  device::Metrics metrics;
  metrics.workers.resize(128);
  for (device::WorkerMetrics& worker : metrics.workers) worker.drops.fill(123'456);
  test::FakeMeasured device(std::move(metrics));
  device.peers.resize(50);
  const std::string text = test::text_of(device);
  const auto lines = render_top(MetricFamilies(text), MetricFamilies(text), 1, 1060, 80, 60);
  EXPECT_THAT(lines, AllOf(SizeIs(60u), Each(SizeIs(::testing::Le(80u))), Contains("and 120 more")));
  EXPECT_THAT(lines, Contains(HasSubstr(std::string(pipeline::kDropReasonNames[pipeline::kDropReasons - 1]))));
  // Small screens lose the peers first.
  EXPECT_THAT(render_top(MetricFamilies(text), MetricFamilies(text), 1, 1060, 80, 24), Contains(StartsWith("PEER")));
}

TEST(Top, ShowsNothingNegativeWhenADaemonBeganAnew) {
  for (const std::string& line : render_top(after_seconds(100), after_seconds(1), 1, 1060, 200, 0))
    EXPECT_THAT(line, Not(HasSubstr(" -"))) << line;
}

TEST(Top, StandsADaemonThatSaysNothing) {
  EXPECT_THAT(render_top({}, {}, 0, 0, 80, 24), Each(SizeIs(::testing::Le(80u))));
}

TEST(Top, ShortensNumbers) {
  const std::pair<double, const char*> cases[] = {
      {0, "0"},        {7, "7"},          {0.5, "0.50"},      {12.34, "12.3"},  {999, "999"},    {999.6, "1.00k"},
      {1000, "1.00k"}, {12'345, "12.3k"}, {999'600, "1.00M"}, {1.5e9, "1.50G"}, {2e16, "20000T"}};
  for (const auto& [number, text] : cases) EXPECT_EQ(short_number(number), text);
}

}  // namespace
}  // namespace culvert::daemon
