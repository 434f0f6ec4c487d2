#include "src/host/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace culvert::host {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

HostFacts healthy() {
  HostFacts facts;
  facts.net_admin = facts.tun_device = facts.bpf = true;
  facts.rmem_max = facts.wmem_max = 212'992;
  facts.ip_forward = facts.early_demux = 1;
  facts.rp_filter = 2;
  facts.conntrack_count = 10;
  facts.conntrack_max = 1000;
  facts.device = "eth0";
  facts.device_mtu = facts.path_mtu = 1500;
  facts.transmit_queue_length = 1000;
  facts.gro = facts.gso = facts.transmit_checksum = facts.udp_gro_forwarding = true;
  facts.receive_queues = 4;
  facts.transmit_queues = facts.queues = facts.most_queues = 4;
  facts.transmit_steering = true;
  facts.packet_steering = facts.threaded_napi = false;
  facts.processors = 4;
  return facts;
}

TEST(Doctor, FindsNothingOnAHealthyHost) {
  EXPECT_THAT(diagnose(healthy()), IsEmpty());
}

TEST(Doctor, BlamesNobodyForWhatCannotBeRead) {
  HostFacts facts;
  facts.net_admin = facts.tun_device = facts.bpf = true;
  facts.device = "eth0";
  EXPECT_THAT(diagnose(facts), IsEmpty());
}

TEST(Doctor, FindsEachThingAloneAndSaysHowToMendIt) {
  struct Case {
    const char* name;
    std::function<void(HostFacts&)> spoil;
    const char* mend;
  };
  const std::vector<Case> cases = {
      {"no TUN", [](HostFacts& f) { f.tun_device = false; }, "modprobe tun"},
      {"no route", [](HostFacts& f) { f.device = ""; }, "ip route add"},
      {"no eBPF", [](HostFacts& f) { f.bpf = false; }, "--cap-add BPF"},
      {"a full table", [](HostFacts& f) { f.conntrack_count = 950; }, "nf_conntrack_max=4000"},
      {"no GRO", [](HostFacts& f) { f.gro = false; }, "ethtool -K eth0 gro on"},
      {"no GSO", [](HostFacts& f) { f.gso = false; }, "ethtool -K eth0 gso on"},
      {"no checksums", [](HostFacts& f) { f.transmit_checksum = false; }, "ethtool -K eth0 tx on"},
      {"no UDP GRO forwarding", [](HostFacts& f) { f.udp_gro_forwarding = false; }, "rx-udp-gro-forwarding on"},
      {"a strict rp_filter", [](HostFacts& f) { f.rp_filter = 1; }, "net.ipv4.conf.eth0.rp_filter=2"},
      {"no forwarding", [](HostFacts& f) { f.ip_forward = 0; }, "net.ipv4.ip_forward=1"},
      {"a narrow path", [](HostFacts& f) { f.path_mtu = 1400; }, "ip link set wg0 mtu 1320"},
      {"a narrow path of a tunnel",
       [](HostFacts& f) {
         f.path_mtu = 1400, f.tunnels = {{"wg7", 1330}};
       },
       "ip link set wg7 mtu 1320"},
      {"a path too narrow for IPv6", [](HostFacts& f) { f.path_mtu = 1300; }, "mtu 1220  # too narrow"},
      {"a path that swallows", [](HostFacts& f) { f.path_mtu = 1460, f.path_swallows = true; }, "wg0 mtu 1380"},
      {"idle queues", [](HostFacts& f) { f.queues = 2; }, "ethtool -L eth0 combined 4"},
      {"idle queues of two kinds", [](HostFacts& f) { f.queues = 2, f.queues_are_combined = false; },
       "ethtool -L eth0 rx 4 tx 4"},
      {"no XPS", [](HostFacts& f) { f.transmit_steering = false; }, "/sys/class/net/eth0/queues/tx-*/xps_cpus"},
      {"a short queue", [](HostFacts& f) { f.transmit_queue_length = 500; }, "txqueuelen 1000"},
      {"one receive queue", [](HostFacts& f) { f.receive_queues = 1; }, "/sys/class/net/eth0/threaded"},
      {"no early demux", [](HostFacts& f) { f.early_demux = 0; }, "udp_early_demux=1"},
      {"no IPv6", [](HostFacts& f) { f.ipv6_off = true; }, "disable_ipv6=0"},
  };
  for (const Case& c : cases) {
    HostFacts facts = healthy();
    c.spoil(facts);
    const std::vector<Finding> findings = diagnose(facts);
    ASSERT_THAT(findings, SizeIs(1)) << c.name;
    EXPECT_THAT(findings[0].mend, HasSubstr(c.mend)) << c.name;
    EXPECT_FALSE(findings[0].what.empty() || findings[0].measured.empty()) << c.name;
  }
}

TEST(Doctor, MindsBufferLimitsWhereItMayNotPassThem) {
  HostFacts facts = healthy();
  facts.net_admin = false;
  EXPECT_THAT(diagnose(facts), SizeIs(3));  // the capability, and both limits
  facts.rmem_max = facts.wmem_max = 8'000'000;
  EXPECT_THAT(diagnose(facts), SizeIs(1));
}

TEST(Doctor, DoesNotMindOneQueueThatIsSpreadFurther) {
  for (const bool steered : {true, false}) {
    HostFacts facts = healthy();
    facts.receive_queues = 1;
    facts.packet_steering = steered;
    facts.threaded_napi = !steered;
    EXPECT_THAT(diagnose(facts), IsEmpty());
  }
}

TEST(Doctor, DoesNotMindAPathThatTheTunnelFits) {
  HostFacts facts = healthy();
  facts.path_mtu = 1400;
  facts.overhead_bytes = 60;
  facts.tunnels = {{"wg7", 1340}, {"wg8", 1341}};
  const std::vector<Finding> findings = diagnose(facts);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].measured, HasSubstr("wg8: mtu 1341"));
}

TEST(Doctor, ReadsTheFilesOfTheKernel) {
  char root[] = "/tmp/culvert-doctor.XXXXXX";
  ASSERT_NE(::mkdtemp(root), nullptr);
  const auto write = [&](const std::string& path, const std::string& text) {
    const std::filesystem::path file = root + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
  };
  write("/proc/self/status", "Name:\tx\nCapEff:\t0000000000001000");  // CAP_NET_ADMIN alone
  write("/proc/sys/net/core/rmem_max", "4711");
  write("/proc/sys/net/ipv4/ip_forward", "0");
  write("/proc/sys/net/ipv4/udp_early_demux", "no number");
  write("/proc/sys/net/ipv4/conf/all/rp_filter", "1");
  write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
  write("/sys/class/net/wg7/mtu", "1400");
  const HostFacts facts = read_host_facts(std::nullopt, {"wg7"}, root);
  EXPECT_TRUE(facts.net_admin);
  EXPECT_FALSE(facts.bpf);
  EXPECT_EQ(facts.rmem_max, 4711u);
  EXPECT_FALSE(facts.wmem_max);
  EXPECT_EQ(facts.ip_forward, 0u);
  EXPECT_FALSE(facts.early_demux);
  EXPECT_EQ(facts.rp_filter, 1u);
  EXPECT_FALSE(facts.ipv6_off);
  ASSERT_THAT(facts.tunnels, SizeIs(1));
  EXPECT_EQ(facts.tunnels[0].mtu, 1400u);
  std::filesystem::remove_all(root);
}

TEST(Doctor, KnowsTheDeviceOfLoopback) {
  io::Endpoint here;
  ASSERT_TRUE(io::parse_endpoint("127.0.0.1:9", here));
  const HostFacts facts = read_host_facts(here);
  EXPECT_EQ(facts.device, "lo");
  EXPECT_TRUE(facts.gro.has_value());
}

}  // namespace
}  // namespace culvert::host
