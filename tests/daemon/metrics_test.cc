#include "src/daemon/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "tests/daemon/fake_measured.h"

namespace culvert::daemon {
namespace {

using ::testing::StartsWith;

struct Family {
  std::string type;
  std::map<std::string, uint64_t> samples;  // by their labels, as they are written
};

// Reads the text exposition format as a strict server would, and complains of everything that it must not hold.
std::map<std::string, Family> parse(const std::string& text) {
  static const std::regex kHelp(R"(# HELP ([a-z_]+) \S[^\n]*)"), kType(R"(# TYPE ([a-z_]+) (counter|gauge))"),
      kSample(R"re(([a-z_]+)(\{([a-z_]+="([^"\\]|\\["\\n])*",?)+\}) (\d+))re");
  std::map<std::string, Family> families;
  std::string name;
  bool typed = false;
  std::istringstream lines(text);
  EXPECT_TRUE(text.ends_with('\n'));
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kHelp)) {
      name = match[1];
      typed = false;
      EXPECT_FALSE(families.contains(name)) << "twice: " << name;
    } else if (std::regex_match(line, match, kType)) {
      EXPECT_EQ(match[1], name) << "its HELP stands right before it";
      families[name].type = match[2];
      typed = true;
    } else if (std::regex_match(line, match, kSample)) {
      EXPECT_TRUE(typed && match[1] == name) << line;
      EXPECT_TRUE(families[name].samples.emplace(match[2], std::stoull(match[5])).second) << "twice: " << line;
    } else {
      ADD_FAILURE() << "no line of the format: " << line;
    }
  }
  return families;
}

device::Metrics two_workers() {
  device::Metrics metrics;
  metrics.name = "wg0";
  metrics.aead_engine = "portable";
  metrics.workers.resize(2);
  return metrics;
}

TEST(Metrics, TellOfEachPeerWhereTheyAreGiven) {
  test::FakeMeasured device(two_workers());
  EXPECT_EQ(test::text_of(device).find("culvert_peer_"), std::string::npos);
  device.peers.resize(2);  // of the second one nothing is known
  device::PeerMetrics& far = device.peers.front();
  far.public_key.fill(1);
  io::Endpoint endpoint;
  ASSERT_TRUE(io::parse_endpoint("[2001:db8::1]:51820", endpoint));
  far.endpoint = endpoint;
  far.received_bytes = 11;
  far.sent_bytes = 12;
  far.expected_messages = 14;
  far.received_messages = 13;
  far.last_handshake_seconds = 1'700'000'000;
  far.keypair_age = std::chrono::seconds(15);
  auto families = parse(test::text_of(device));
  const auto labels = [](const std::string& key, const std::string& more = "") {
    return "{device=\"wg0\",public_key=\"" + key + "\"" + more + "}";
  };
  const std::string key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", zeros = std::string(43, 'A') + "=";
  EXPECT_EQ(families["culvert_peer_info"].samples.at(labels(key, ",endpoint=\"[2001:db8::1]:51820\"")), 1u);
  EXPECT_EQ(families["culvert_peer_info"].samples.at(labels(zeros, ",endpoint=\"\"")), 1u);
  EXPECT_EQ(families["culvert_peer_received_bytes_total"].samples.at(labels(key)), 11u);
  EXPECT_EQ(families["culvert_peer_sent_bytes_total"].samples.at(labels(key)), 12u);
  EXPECT_EQ(families["culvert_peer_received_messages_total"].samples.at(labels(key)), 13u);
  EXPECT_EQ(families["culvert_peer_expected_messages_total"].samples.at(labels(key)), 14u);
  EXPECT_EQ(families["culvert_peer_last_handshake_timestamp_seconds"].samples.at(labels(key)), 1'700'000'000u);
  EXPECT_EQ(families["culvert_peer_last_handshake_timestamp_seconds"].samples.at(labels(zeros)), 0u);
  EXPECT_EQ(families["culvert_peer_keypair_age_seconds"].samples.size(), 1u);
  EXPECT_EQ(families["culvert_peer_keypair_age_seconds"].samples.at(labels(key)), 15u);
}

TEST(Metrics, SayEachFamilyOnceWithHelpAndType) {
  const auto families = parse(metrics_text(two_workers()));
  EXPECT_GT(families.size(), 20u);
  for (const auto& [name, family] : families) {
    EXPECT_THAT(name, StartsWith("culvert_"));
    EXPECT_EQ(name.ends_with("_total"), family.type == "counter") << name;
    EXPECT_FALSE(family.samples.empty()) << name;
    for (const auto& [labels, value] : family.samples) EXPECT_THAT(labels, StartsWith("{device=\"wg0\"")) << name;
  }
}

TEST(Metrics, OfSeveralInterfacesAreOneText) {
  device::Metrics first = two_workers(), second = two_workers();
  second.name = "wg1";
  const std::map<std::string, Family> alone = parse(metrics_text(first));
  const std::map<std::string, Family> both = parse(join_metrics({metrics_text(first), metrics_text(second)}));
  ASSERT_EQ(both.size(), alone.size());
  for (const auto& [name, family] : both) EXPECT_EQ(family.samples.size(), 2 * alone.at(name).samples.size()) << name;
  EXPECT_EQ(join_metrics({metrics_text(first)}), metrics_text(first));
  EXPECT_EQ(join_metrics({}), "");
}

TEST(Metrics, TellOfPortsOfBothSidesUnderTheSameFamilies) {
  device::Metrics metrics = two_workers();
  metrics.outer_device = {"a\"b", {{"dpdk_port_up", "Whether it is up.", 1}, {"dpdk_port_lost_total", "Lost.", 7}}};
  auto families = parse(metrics_text(metrics));
  EXPECT_EQ(families["culvert_dpdk_port_up"].samples.size(), 1u);
  metrics.inner_device = {"c", {{"dpdk_port_up", "Whether it is up.", 0}, {"dpdk_port_lost_total", "Lost.", 8}}};
  families = parse(metrics_text(metrics));
  EXPECT_EQ(families["culvert_dpdk_port_up"].type, "gauge");
  EXPECT_EQ(families["culvert_dpdk_port_lost_total"].samples.at(R"({device="wg0",port="a\"b",side="outer"})"), 7u);
  EXPECT_EQ(families["culvert_dpdk_port_lost_total"].samples.at(R"({device="wg0",port="c",side="inner"})"), 8u);
}

TEST(Metrics, EscapeTheNameOfTheInterface) {
  device::Metrics metrics = two_workers();
  metrics.name = "a\"b\\c";
  const auto families = parse(metrics_text(metrics));
  EXPECT_EQ(families.at("culvert_peers").samples.count("{device=\"a\\\"b\\\\c\"}"), 1u);
}

TEST(Metrics, SayEveryCounterOfEachWorker) {
  device::Metrics metrics = two_workers();
  uint64_t value = 100;
  for (device::WorkerMetrics& worker : metrics.workers)
    for (uint64_t& counter : worker.counters) counter = ++value;
  const auto families = parse(metrics_text(metrics));
  for (size_t i = 0; i < pipeline::kWorkerCounters.size(); ++i) {
    const auto& entry = pipeline::kWorkerCounters[i];
    const Family& family = families.at("culvert_" + std::string(entry.name));
    const std::string label = entry.label.empty() ? "" : "," + std::string(entry.label);
    for (size_t worker = 0; worker < 2; ++worker)
      EXPECT_EQ(family.samples.at("{device=\"wg0\",worker=\"" + std::to_string(worker) + "\"" + label + "}"),
                metrics.workers[worker].counters[i]);
  }
}

TEST(Metrics, SayEveryCounterOfTheControlThread) {
  device::Metrics metrics = two_workers();
  for (size_t i = 0; i < metrics.control.size(); ++i) metrics.control[i] = 1000 + i;
  const auto families = parse(metrics_text(metrics));
  for (size_t i = 0; i < metrics.control.size(); ++i) {
    const auto& entry = device::kControlCounters[i];
    const std::string label = entry.label.empty() ? "" : "," + std::string(entry.label);
    EXPECT_EQ(families.at("culvert_" + std::string(entry.name)).samples.at("{device=\"wg0\"" + label + "}"), 1000 + i);
  }
}

TEST(Metrics, SayEveryCounterOfTheSidesAndTheirDropsUnderAReason) {
  device::Metrics metrics = two_workers();
  for (size_t i = 0; i < metrics.outer.size(); ++i) metrics.outer[i] = 100 + i;
  for (size_t i = 0; i < metrics.inner.size(); ++i) metrics.inner[i] = 200 + i;
  const auto families = parse(metrics_text(metrics));
  size_t drops = 0;
  const auto expect_each = [&](const auto& table, uint64_t first) {
    for (size_t i = 0; i < table.size(); ++i) {
      EXPECT_EQ(families.at("culvert_" + std::string(table[i].name)).samples.at("{device=\"wg0\"}"), first + i);
      if (table[i].drop.empty()) continue;
      const std::string labels = "{device=\"wg0\",reason=\"" + std::string(table[i].drop) + "\"}";
      EXPECT_EQ(families.at("culvert_drops_total").samples.at(labels), first + i);
      ++drops;
    }
  };
  expect_each(io::kOuterCounters, 100);
  expect_each(io::kInnerCounters, 200);
  EXPECT_EQ(drops, 3u) << "what was empty, what was cut off, and what was no packet";
}

TEST(Metrics, SayOfEachMemberOfAGroupWhetherItIsAliveAndWhatItCarries) {
  device::Metrics metrics = two_workers();
  metrics.groups = {{"paris", {{"KEY1=", true, 10, 20}, {"KEY2=", false, 30, 40}}}};
  const auto families = parse(metrics_text(metrics));
  const std::string first = R"({device="wg0",group="paris",peer="KEY1="})";
  const std::string second = R"({device="wg0",group="paris",peer="KEY2="})";
  EXPECT_EQ(families.at("culvert_group_member_alive").samples.at(first), 1u);
  EXPECT_EQ(families.at("culvert_group_member_alive").samples.at(second), 0u);
  EXPECT_EQ(families.at("culvert_group_member_sent_bytes_total").samples.at(second), 30u);
  EXPECT_EQ(families.at("culvert_group_member_received_bytes_total").samples.at(first), 20u);
}

TEST(Metrics, SayEveryDropUnderOneReason) {
  device::Metrics metrics = two_workers();
  for (device::WorkerMetrics& worker : metrics.workers)
    for (size_t i = 0; i < pipeline::kDropReasons; ++i) worker.drops[i] = 10 + i;
  const auto families = parse(metrics_text(metrics));
  for (size_t i = 0; i < pipeline::kDropReasons; ++i)
    EXPECT_EQ(families.at("culvert_drops_total")
                  .samples.at("{device=\"wg0\",reason=\"" + std::string(pipeline::kDropReasonNames[i]) + "\"}"),
              2 * (10 + i));
}

TEST(Metrics, KeepTheNamesThatTheyHad) {
  const auto families = parse(metrics_text(two_workers()));
  for (const char* const name : {"engine",
                                 "peers",
                                 "link_up",
                                 "drops_total",
                                 "inner_packets_read_total",
                                 "inner_packets_written_total",
                                 "messages_sealed_total",
                                 "messages_opened_total",
                                 "keepalives_received_total",
                                 "packets_staged_total",
                                 "unreachable_sent_total",
                                 "wakeups_total",
                                 "datagrams_sent_total",
                                 "datagrams_received_total",
                                 "trains_sent_total",
                                 "trains_received_total",
                                 "send_errors_total",
                                 "receive_errors_total",
                                 "truncated_total",
                                 "gso_downgrades_total",
                                 "offload_active",
                                 "tun_engine",
                                 "udp_engine",
                                 "handshake_messages_total",
                                 "keepalives_sent_total"})
    EXPECT_TRUE(families.contains(std::string("culvert_") + name)) << name;
}

TEST(Metrics, TellTheWaitsOfEachWorkerApart) {
  const auto families = parse(metrics_text(two_workers()));
  const auto& samples = families.at("culvert_queue_waits_total").samples;
  EXPECT_EQ(samples.size(), 8u);
  EXPECT_TRUE(samples.contains("{device=\"wg0\",worker=\"1\",below=\"20ms\"}"));
}

TEST(Health, SaysWhetherTheLinkIsUp) {
  device::Metrics metrics = two_workers();
  EXPECT_EQ(health_text(metrics), "ok\nlink down\n");
  metrics.link_up = true;
  EXPECT_EQ(health_text(metrics), "ok\nlink up\n");
}

}  // namespace
}  // namespace culvert::daemon
