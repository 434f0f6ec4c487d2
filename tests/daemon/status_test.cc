#include "src/daemon/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "src/protocol/keys.h"
#include "tests/fake_device.h"

namespace culvert::daemon {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A tunnel with a peer behind a name, that has called, and one that was never heard of.
class StatusTest : public ::testing::Test {
 protected:
  StatusTest() {
    state_.private_key = test::secret_number(9);
    state_.listen_port = 51820;
    state_.fwmark = 0xca6c;
    device::PeerState& peer = state_.peers.emplace_back();
    peer.public_key = test::key_number(1);
    peer.preshared_key = test::secret_number(8);
    peer.endpoint.emplace();
    EXPECT_TRUE(io::parse_endpoint("[2001:db8::1]:51820", *peer.endpoint));
    peer.last_handshake_seconds = 1700000000;
    peer.received_bytes = 5;
    peer.sent_bytes = 1ULL << 40;
    peer.persistent_keepalive_seconds = 25;
    peer.allowed_ips = {*device::parse_prefix("10.1.0.0/16", device::PrefixLength::required)};
    state_.peers.emplace_back().public_key = test::key_number(2);
    config_.peers.emplace_back().public_key = test::key_number(1);
    config_.peers.back().endpoint_name = {"vpn.example", 51820};
    steps_ = {{.kind = host::Step::Kind::address,
               .prefix = *device::parse_prefix("10.0.0.1/24", device::PrefixLength::required)},
              {.kind = host::Step::Kind::link, .number = 1420},
              {.kind = host::Step::Kind::dns, .words = {"10.0.0.53"}, .more_words = {"corp.example"}},
              {.kind = host::Step::Kind::route},
              {.kind = host::Step::Kind::firewall, .name = "ip culvert-wg0"}};
  }

  std::string print(StatusForm form, const std::string& file = "/etc/culvert/wg0.conf") {
    return print_status({name_, file, state_, steps_, config_}, form);
  }

  const std::string name_ = "wg0";
  device::DeviceState state_;
  std::vector<host::Step> steps_;
  config::Config config_;
};

TEST_F(StatusTest, IsJsonWithKeysThatAreAlwaysThere) {
  const auto json = nlohmann::json::parse(print(StatusForm::json));
  const auto expected = nlohmann::json::parse(R"({
      "name": "wg0", "file": "/etc/culvert/wg0.conf", "listen_port": 51820, "fwmark": 51820, "mtu": 1420,
      "addresses": ["10.0.0.1/24"], "dns": {"servers": ["10.0.0.53"], "search": ["corp.example"]}, "routes": 1,
      "nftables": ["ip culvert-wg0"]})");
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(json.at(key), value) << key;
  EXPECT_EQ(json.at("public_key"),
            device::to_base64(protocol::StaticIdentity(test::secret_number(9)).public_key().bytes));
  ASSERT_EQ(json.at("peers").size(), 2u);
  const auto peer = nlohmann::json::parse(R"({
      "endpoint": "[2001:db8::1]:51820", "endpoint_name": "vpn.example:51820", "group": null,
      "allowed_ips": ["10.1.0.0/16"], "persistent_keepalive": 25, "latest_handshake": 1700000000, "received_bytes": 5,
      "sent_bytes": 1099511627776})");
  for (const auto& [key, value] : peer.items()) EXPECT_EQ(json["peers"][0].at(key), value) << key;
  for (const char* const key : {"endpoint", "endpoint_name", "group", "latest_handshake"})
    EXPECT_EQ(json["peers"][1].at(key), nullptr) << key;
  EXPECT_EQ(json["peers"][1].at("allowed_ips"), nlohmann::json::array());
}

TEST_F(StatusTest, HasEmptyValuesForWhatIsNot) {
  state_ = {};
  steps_.clear();
  config_ = {};
  const auto json = nlohmann::json::parse(print(StatusForm::json));
  EXPECT_EQ(json.at("public_key"), nullptr);
  EXPECT_EQ(json.at("mtu"), nullptr);
  for (const char* const key : {"addresses", "nftables", "peers"})
    EXPECT_EQ(json.at(key), nlohmann::json::array()) << key;
  EXPECT_EQ(json.at("dns").at("servers"), nlohmann::json::array());
}

TEST_F(StatusTest, TellsNoSecrets) {
  for (const StatusForm form : {StatusForm::text, StatusForm::json})
    for (const uint8_t secret : {uint8_t{8}, uint8_t{9}})
      EXPECT_THAT(print(form), Not(HasSubstr(device::to_base64(test::key_number(secret)))));
}

TEST_F(StatusTest, IsJsonWhateverTheFileIsCalled) {
  const auto json = nlohmann::json::parse(print(StatusForm::json, "/a\"b\n\xff/wg0.conf"));
  EXPECT_THAT(json.at("file").get<std::string>(), HasSubstr("/a\"b\n"));
}

TEST_F(StatusTest, SaysItToPeopleInLines) {
  const std::string text = print(StatusForm::text);
  for (const char* const line :
       {"interface: wg0\n", "  fwmark: 0xca6c\n", "  address: 10.0.0.1/24\n", "  dns: 10.0.0.53, search corp.example\n",
        "  routes: 1\n", "  endpoint: vpn.example:51820 ([2001:db8::1]:51820)\n"})
    EXPECT_THAT(text, HasSubstr(line));
}

}  // namespace
}  // namespace culvert::daemon
