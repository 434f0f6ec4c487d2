#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/config/config.h"
#include "tests/fake_device.h"

namespace culvert::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Config config_of(const std::string& text) {
  ConfigOutcome outcome = parse_gateway_config(text, "wg0.conf");
  EXPECT_TRUE(outcome) << outcome.errors.front();
  return std::move(outcome.config);
}

std::string peer(uint8_t n, const std::string& lines) {
  return "[Peer]\nPublicKey = " + device::to_base64(test::key_number(n)) + "\n" + lines + "\n";
}

// A device that has been given `before`.
test::FakeDevice device_with(const Config& before) {
  test::FakeDevice fake;
  EXPECT_TRUE(apply_config(before, fake));
  fake.finished.clear();
  fake.publications = 0;
  return fake;
}

std::vector<std::string> allowed_ips(test::FakeDevice& fake, uint8_t n) {
  std::vector<std::string> out;
  for (const device::Prefix& prefix : fake.find(test::key_number(n))->allowed_ips)
    out.push_back(device::to_string(prefix));
  return out;
}

device::DeviceState copy_of(const device::DeviceState& state) {
  device::DeviceState copy;
  copy.private_key = state.private_key.clone();
  copy.listen_port = state.listen_port;
  copy.fwmark = state.fwmark;
  copy.source_ports = state.source_ports;
  for (const device::PeerState& each : state.peers) {
    device::PeerState& out = copy.peers.emplace_back();
    out.public_key = each.public_key;
    out.preshared_key = each.preshared_key.clone();
    out.endpoint = each.endpoint;
    out.persistent_keepalive_seconds = each.persistent_keepalive_seconds;
    out.source_ports = each.source_ports;
    out.allowed_ips = each.allowed_ips;
  }
  return copy;
}

TEST(SyncConfig, ChangesWhatDiffersAndNothingElse) {
  const Config before = config_of("[Interface]\nListenPort = 51820\n" +
                                  peer(1, "AllowedIPs = 10.1.0.0/16, 10.2.0.0/16\nEndpoint = 192.0.2.1:1") +
                                  peer(2, "AllowedIPs = 10.3.0.0/16"));
  const Config after = config_of("[Interface]\nListenPort = 51821\n" +
                                 peer(1,
                                      "AllowedIPs = 10.2.0.0/16, 10.3.0.0/16\nEndpoint = 192.0.2.1:1\n"
                                      "PersistentKeepalive = 25") +
                                 peer(3, "AllowedIPs = 10.9.0.0/16\nEndpoint = 192.0.2.3:3"));
  test::FakeDevice fake = device_with(before);
  io::Endpoint roamed;
  ASSERT_TRUE(io::parse_endpoint("198.51.100.7:7", roamed));
  fake.find(test::key_number(1))->endpoint = roamed;
  ASSERT_TRUE(sync_config(before, after, copy_of(fake.state), fake));
  EXPECT_EQ(fake.state.listen_port, 51821);
  ASSERT_THAT(fake.state.peers, SizeIs(2));
  EXPECT_THAT(allowed_ips(fake, 1), ElementsAre("10.2.0.0/16", "10.3.0.0/16"));
  EXPECT_THAT(allowed_ips(fake, 3), ElementsAre("10.9.0.0/16"));
  EXPECT_EQ(io::to_string(*fake.find(test::key_number(1))->endpoint), "198.51.100.7:7") << "roaming wins";
  EXPECT_EQ(io::to_string(*fake.find(test::key_number(3))->endpoint), "192.0.2.3:3");
  EXPECT_EQ(fake.find(test::key_number(1))->persistent_keepalive_seconds, 25);
  EXPECT_EQ(fake.publications, 1);
}

TEST(SyncConfig, LeavesAPortAndAMarkThatTheFileDoesNotName) {
  const Config config = config_of(peer(1, ""));
  test::FakeDevice fake = device_with(config);
  fake.state.listen_port = 40000;
  fake.state.fwmark = 51820;
  ASSERT_TRUE(sync_config(config, config, copy_of(fake.state), fake));
  EXPECT_EQ(fake.state.listen_port, 40000);
  EXPECT_EQ(fake.state.fwmark, 51820U);
}

TEST(SyncConfig, TakesBackWhatSomebodySetBesideTheFile) {
  const Config config = config_of(peer(1, "AllowedIPs = 10.1.0.0/16"));
  test::FakeDevice fake = device_with(config);
  fake.state.peers.emplace_back().public_key = test::key_number(5);
  fake.find(test::key_number(1))->allowed_ips.clear();
  ASSERT_TRUE(sync_config(config, config, copy_of(fake.state), fake));
  EXPECT_THAT(fake.state.peers, SizeIs(1));
  EXPECT_THAT(allowed_ips(fake, 1), ElementsAre("10.1.0.0/16"));
}

TEST(SyncConfig, ChangesSourcePortsOfTheDeviceAndOfPeers) {
  const Config before = config_of("[Interface]\nSourcePorts = 4\n" + peer(1, "SourcePorts = 2") + peer(2, ""));
  const Config after = config_of("[Interface]\nSourcePorts = 8\n" + peer(1, "") + peer(2, "SourcePorts = 3"));
  test::FakeDevice fake = device_with(before);
  ASSERT_TRUE(sync_config(before, after, copy_of(fake.state), fake));
  EXPECT_EQ(io::to_string(fake.state.source_ports), "8");
  EXPECT_EQ(fake.find(test::key_number(1))->source_ports, 0);
  EXPECT_EQ(fake.find(test::key_number(2))->source_ports, 3);
  fake.refusal = EADDRINUSE;
  fake.port_refusal_text = "port 40003 is taken";
  const Config taken = config_of("[Interface]\nSourcePorts = 40000-40003\n" + peer(1, ""));
  const io::Status refused = sync_config(after, taken, copy_of(fake.state), fake);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text(), "SourcePorts 40000-40003: port 40003 is taken");
}

TEST(SyncConfig, TakesAHundredThousandAllowedIpsOfAPeer) {
  Config config;
  config.peers.emplace_back().public_key = test::key_number(1);
  for (uint32_t i = 0; i < 130560; ++i) {
    device::Prefix prefix{.cidr = 32};
    prefix.address[0] = 10;
    for (size_t byte = 1; byte < 4; ++byte) prefix.address[byte] = static_cast<uint8_t>(i >> (24 - 8 * byte));
    config.peers.back().allowed_ips.push_back({prefix, false});
  }
  test::FakeDevice fake = device_with(config);
  EXPECT_TRUE(sync_config(config, config, copy_of(fake.state), fake));
  EXPECT_THAT(fake.find(test::key_number(1))->allowed_ips, SizeIs(130560));
}

TEST(SyncConfig, ChangesNothingWhenThePortIsTaken) {
  const Config before = config_of(peer(1, ""));
  const Config after = config_of("[Interface]\nListenPort = 7\n" + peer(2, ""));
  test::FakeDevice fake = device_with(before);
  fake.refusal = EADDRINUSE;
  const io::Status synced = sync_config(before, after, copy_of(fake.state), fake);
  ASSERT_FALSE(synced);
  EXPECT_THAT(synced.error().text(), HasSubstr("ListenPort 7 is taken"));
  EXPECT_NE(fake.find(test::key_number(1)), nullptr);
  EXPECT_EQ(fake.find(test::key_number(2)), nullptr);
}

TEST(PrintConfig, WritesWhatCanBeReadAgain) {
  const std::string text =
      "[Interface]\nAddress = 10.0.0.1/24\nDNS = 10.0.0.53\nDNS = corp.example\nMTU = 1380\nTable = 77\nSaveConfig = "
      "true\nForward = yes\nMasquerade = eth0\nPreUp = a %i\nPostUp = b\nPreDown = c\nPostDown = d\nSourcePorts = "
      "4\nResolve = "
      "60s\nListenPort = 51820\nFwMark = 0xca6c\nPrivateKey = " +
      device::to_base64(test::key_number(9)) + "\n\n[Peer]\nPublicKey = " + device::to_base64(test::key_number(1)) +
      "\nPresharedKey = " + device::to_base64(test::key_number(2)) +
      "\nAllowedIPs = 10.1.0.0/16, fd00::/64\nEndpoint = vpn.example:51820\nPersistentKeepalive = 25\nSourcePorts = "
      "2\n";
  const Config config = config_of(text);
  const test::FakeDevice fake = device_with(config);
  EXPECT_EQ(std::string(print_config(config, fake.state)), text);
}

}  // namespace
}  // namespace culvert::config
