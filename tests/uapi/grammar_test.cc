#include "src/uapi/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>

#include "tests/fake_device.h"

namespace culvert::uapi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kPeer1 = "public_key=" + device::to_hex(test::key_number(1)) + "\n";
const std::string kPeer2 = "public_key=" + device::to_hex(test::key_number(2)) + "\n";
const std::string kOwnKey = "public_key=" + device::to_hex(test::key_number(0xee)) + "\n";

struct Outcome {
  UapiError error = UapiError::none;
  std::string text;
};

// Feeds the lines until the parser has enough, and ends the input.
Outcome set(test::FakeDevice& device, const std::string& lines) {
  SetParser parser(device);
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);)
    if (parser.feed_line(line) == SetParser::Progress::finished) break;
  parser.finish();
  return {parser.error(), parser.error_text()};
}

TEST(UapiSet, AppliesEveryKey) {
  test::FakeDevice device;
  const Outcome outcome =
      set(device, "private_key=" + device::to_hex(test::key_number(9)) +
                      "\nlisten_port=51820\nfwmark=4294967295\nworkers=3\n" + "replace_peers=true\n" + kPeer1 +
                      "preshared_key=" + device::to_hex(test::key_number(3)) +
                      "\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n" +
                      "protocol_version=1\nallowed_ip=10.1.2.3/8\nallowed_ip=fd00::1/64\n" + kPeer2 +
                      "endpoint=[2001:db8::1]:1\n\n");
  EXPECT_EQ(outcome.error, UapiError::none) << outcome.text;
  EXPECT_EQ(outcome.text, "");
  EXPECT_EQ(device.state.private_key, test::secret_number(9));
  EXPECT_EQ(device.state.listen_port, 51820);
  EXPECT_EQ(device.state.fwmark, 4294967295);
  EXPECT_EQ(device.state.workers, 3u);
  ASSERT_EQ(device.state.peers.size(), 2u);
  const device::PeerState& peer = device.state.peers[0];
  EXPECT_EQ(peer.preshared_key, test::secret_number(3));
  EXPECT_EQ(io::to_string(*peer.endpoint), "192.0.2.1:51820");
  EXPECT_EQ(peer.persistent_keepalive_seconds, 25);
  ASSERT_EQ(peer.allowed_ips.size(), 2u);
  EXPECT_EQ(device::to_string(peer.allowed_ips[0]), "10.0.0.0/8");
  EXPECT_EQ(device::to_string(peer.allowed_ips[1]), "fd00::/64");
  EXPECT_EQ(io::to_string(*device.state.peers[1].endpoint), "[2001:db8::1]:1");
  EXPECT_EQ(device.finished, (std::vector{device::to_hex(test::key_number(1)), device::to_hex(test::key_number(2))}));
  EXPECT_EQ(device.publications, 1);
}

TEST(UapiSet, RefusesEveryWrongLine) {
  struct Case {
    const char* name;
    std::string lines;
    UapiError error;
  };
  const std::string hex = device::to_hex(test::key_number(1));
  const std::vector<Case> cases = {
      {"a line without an equals sign", "listen_port\n", UapiError::protocol},
      {"a line of spaces", " \n", UapiError::protocol},
      {"a key of no meaning", "listenport=1\n", UapiError::invalid},
      {"an empty key", "=1\n", UapiError::invalid},
      {"a peer key before any peer", "allowed_ip=10.0.0.0/8\n", UapiError::invalid},
      {"protocol_version before any peer", "protocol_version=1\n", UapiError::invalid},
      {"a private key that is too short", "private_key=" + hex.substr(1) + "\n", UapiError::invalid},
      {"a private key that is not hex", "private_key=g" + hex.substr(1) + "\n", UapiError::invalid},
      {"a port above the range", "listen_port=65536\n", UapiError::invalid},
      {"a negative port", "listen_port=-1\n", UapiError::invalid},
      {"an empty port", "listen_port=\n", UapiError::invalid},
      {"a port with a space", "listen_port=1 \n", UapiError::invalid},
      {"a mark above the range", "fwmark=4294967296\n", UapiError::invalid},
      {"a mark in hex", "fwmark=0x1\n", UapiError::invalid},
      {"too many workers", "workers=129\n", UapiError::invalid},
      {"workers by word", "workers=auto\n", UapiError::invalid},
      {"replace_peers=false", "replace_peers=false\n", UapiError::invalid},
      {"replace_peers=TRUE", "replace_peers=TRUE\n", UapiError::invalid},
      {"an empty public key", "public_key=\n", UapiError::invalid},
      {"a device key after a peer", kPeer1 + "listen_port=1\n", UapiError::invalid},
      {"a peer key of no meaning", kPeer1 + "allowedip=10.0.0.0/8\n", UapiError::invalid},
      {"update_only=1", kPeer1 + "update_only=1\n", UapiError::invalid},
      {"remove=yes", kPeer1 + "remove=yes\n", UapiError::invalid},
      {"replace_allowed_ips=false", kPeer1 + "replace_allowed_ips=false\n", UapiError::invalid},
      {"a preshared key that is too long", kPeer1 + "preshared_key=" + hex + "00\n", UapiError::invalid},
      {"an endpoint without a port", kPeer1 + "endpoint=192.0.2.1\n", UapiError::invalid},
      {"an endpoint by name", kPeer1 + "endpoint=example.com:51820\n", UapiError::invalid},
      {"a bare v6 endpoint", kPeer1 + "endpoint=2001:db8::1:51820\n", UapiError::invalid},
      {"an endpoint with a port above the range", kPeer1 + "endpoint=192.0.2.1:65536\n", UapiError::invalid},
      {"an empty endpoint", kPeer1 + "endpoint=\n", UapiError::invalid},
      {"a keepalive above the range", kPeer1 + "persistent_keepalive_interval=65536\n", UapiError::invalid},
      {"keepalive off, which only wg(8) knows", kPeer1 + "persistent_keepalive_interval=off\n", UapiError::invalid},
      {"an allowed IP without a length", kPeer1 + "allowed_ip=10.0.0.0\n", UapiError::invalid},
      {"an empty allowed IP", kPeer1 + "allowed_ip=\n", UapiError::invalid},
      {"an allowed IP with two signs", kPeer1 + "allowed_ip=--10.0.0.0/8\n", UapiError::invalid},
      {"an allowed IP with a plus", kPeer1 + "allowed_ip=+10.0.0.0/8\n", UapiError::invalid},
      {"a group with a space", kPeer1 + "group=a b\n", UapiError::invalid},
      {"a group with a name too long", kPeer1 + "group=" + std::string(33, 'a') + "\n", UapiError::invalid},
      {"a group of the device", "group=paris\n", UapiError::invalid},
      {"another protocol version", kPeer1 + "protocol_version=2\n", UapiError::invalid},
      {"a wrong value for a removed peer", kPeer1 + "remove=true\nallowed_ip=x\n", UapiError::invalid},
      {"a wrong value for our own key", kOwnKey + "endpoint=x\n", UapiError::invalid},
  };
  for (const Case& c : cases) {
    test::FakeDevice device;
    const Outcome outcome = set(device, c.lines + "\n");
    EXPECT_EQ(outcome.error, c.error) << c.name;
    EXPECT_THAT(outcome.text, HasSubstr("errno=" + std::to_string(static_cast<int>(c.error)))) << c.name;
    EXPECT_EQ(device.publications, 1) << c.name;
  }
}

TEST(UapiSet, KeepsTheLinesBeforeTheBadOneAndIgnoresThoseAfter) {
  test::FakeDevice device;
  const Outcome outcome =
      set(device, kPeer1 + "allowed_ip=10.0.0.0/8\nallowed_ip=bad\nallowed_ip=11.0.0.0/8\n" + kPeer2 + "\n");
  EXPECT_EQ(outcome.error, UapiError::invalid);
  EXPECT_THAT(outcome.text, HasSubstr("line 3: allowed_ip='bad'"));
  ASSERT_EQ(device.state.peers.size(), 1u);
  EXPECT_EQ(device.state.peers[0].allowed_ips.size(), 1u);
  EXPECT_TRUE(device.finished.empty());
  EXPECT_EQ(device.publications, 1);
}

TEST(UapiSet, ChangesNothingBeforeItsEnd) {
  test::FakeDevice device;
  SetParser parser(device);
  for (const std::string& line : {std::string("listen_port=5"), kPeer1.substr(0, kPeer1.size() - 1),
                                  std::string("allowed_ip=10.0.0.0/8"), kPeer2.substr(0, kPeer2.size() - 1)})
    EXPECT_EQ(parser.feed_line(line), SetParser::Progress::more);
  EXPECT_EQ(parser.waiting_lines(), 4u);
  EXPECT_EQ(device.state.listen_port, 0);
  EXPECT_TRUE(device.state.peers.empty());
  EXPECT_EQ(parser.feed_line(""), SetParser::Progress::finished);
  EXPECT_EQ(parser.waiting_lines(), 0u);
  EXPECT_EQ(device.state.peers.size(), 2u);
  EXPECT_EQ(device.publications, 1);
}

TEST(UapiSet, HasABoundedNumberOfLines) {
  test::FakeDevice device;
  SetParser parser(device);
  for (size_t i = 0; i < kMaxUapiLines; ++i) ASSERT_EQ(parser.feed_line("fwmark=7"), SetParser::Progress::more);
  EXPECT_EQ(parser.feed_line("fwmark=8"), SetParser::Progress::finished);
  EXPECT_EQ(parser.error(), UapiError::too_long);
  EXPECT_EQ(device.state.fwmark, 7u) << "the lines before count";
  EXPECT_EQ(device.publications, 1);
}

TEST(UapiSet, TellsOfTheEarlierOfTwoErrors) {
  test::FakeDevice device;
  device.refusal = EADDRINUSE;
  const Outcome outcome = set(device, "listen_port=53\nfwmark=x\n");
  EXPECT_EQ(outcome.error, UapiError::port_in_use);
  EXPECT_THAT(outcome.text, HasSubstr("line 1: listen_port=53 is taken by another program"));
}

TEST(UapiSet, SetsSourcePortsOfTheDeviceAndOfPeers) {
  test::FakeDevice device;
  Outcome outcome = set(device, "source_ports=40000-40007\n" + kPeer1 + "source_ports=3\n\n");
  EXPECT_EQ(outcome.error, UapiError::none) << outcome.text;
  EXPECT_EQ(device.state.source_ports, (io::SourcePorts{8, 40000}));
  EXPECT_EQ(device.state.peers.at(0).source_ports, 3);
  EXPECT_THAT(std::string(print_get(device.state)), HasSubstr("source_ports=40000-40007\n"));
  EXPECT_THAT(std::string(print_get(device.state)), HasSubstr("\nsource_ports=3\n"));
  outcome = set(device, "source_ports=1\n" + kPeer1 + "source_ports=0\n\n");
  EXPECT_THAT(std::string(print_get(device.state)), Not(HasSubstr("source_ports"))) << "what is off is not printed";
  for (const std::string wrong : {"0", "129", "5-4", ""}) {
    outcome = set(device, "source_ports=" + wrong + "\n\n");
    EXPECT_EQ(outcome.error, UapiError::invalid);
    EXPECT_THAT(outcome.text, HasSubstr("source_ports='" + wrong + "'"));
  }
  EXPECT_EQ(set(device, kPeer1 + "source_ports=129\n\n").error, UapiError::invalid);
}

TEST(UapiSet, NamesTheSourcePortThatIsTaken) {
  test::FakeDevice device;
  device.refusal = EADDRINUSE;
  device.port_refusal_text = "UDP port 40003 is taken by another program";
  for (const char* line : {"source_ports=40000-40007\n", "listen_port=40000\n"}) {
    const Outcome outcome = set(device, line);
    EXPECT_EQ(outcome.error, UapiError::port_in_use);
    EXPECT_THAT(outcome.text, HasSubstr("UDP port 40003 is taken"));
  }
}

TEST(UapiSet, NeverPutsAKeyIntoAnErrorText) {
  test::FakeDevice device;
  const std::string secret = "c0ffee" + device::to_hex(test::key_number(0x5a)).substr(7);
  for (const std::string& lines : {"private_key=" + secret, secret, secret + "=", kPeer1 + "preshared_key=" + secret}) {
    const Outcome outcome = set(device, lines + "\n");
    EXPECT_NE(outcome.error, UapiError::none);
    EXPECT_THAT(outcome.text, Not(HasSubstr("c0ffee")));
  }
}

TEST(UapiSet, MakesErrorTextsPrintable) {
  test::FakeDevice device;
  const Outcome outcome = set(device, kPeer1 + "endpoint=\x1b[2J\xff" + std::string(500, 'x') + "\n");
  EXPECT_THAT(outcome.text, HasSubstr("'?[2J?xxx"));
  EXPECT_LT(outcome.text.size(), 300u);
}

TEST(UapiSet, RemovesPeersAndGoesOnParsing) {
  test::FakeDevice device;
  set(device, kPeer1 + kPeer2 + "\n");
  const Outcome outcome = set(device, kPeer1 +
                                          "remove=true\nremove=true\nupdate_only=true\nreplace_allowed_ips=true\n"
                                          "allowed_ip=10.0.0.0/8\nendpoint=192.0.2.1:1\n"
                                          "persistent_keepalive_interval=1\n\n");
  EXPECT_EQ(outcome.error, UapiError::none) << outcome.text;
  ASSERT_EQ(device.state.peers.size(), 1u);
  EXPECT_EQ(device.state.peers[0].public_key, test::key_number(2));
  EXPECT_EQ(device.finished.size(), 2u);  // both from the first operation
}

TEST(UapiSet, RemovesAPeerThatNeverWas) {
  test::FakeDevice device;
  EXPECT_EQ(set(device, kPeer1 + "remove=true\n\n").error, UapiError::none);
  EXPECT_TRUE(device.state.peers.empty());
}

TEST(UapiSet, UpdateOnlyCreatesNothing) {
  test::FakeDevice device;
  EXPECT_EQ(set(device, kPeer1 + "update_only=true\nallowed_ip=10.0.0.0/8\n\n").error, UapiError::none);
  EXPECT_TRUE(device.state.peers.empty());
  set(device, kPeer1 + "\n");
  EXPECT_EQ(set(device, kPeer1 + "update_only=true\nallowed_ip=10.0.0.0/8\n\n").error, UapiError::none);
  ASSERT_EQ(device.state.peers.size(), 1u);
  EXPECT_EQ(device.state.peers[0].allowed_ips.size(), 1u);
}

TEST(UapiSet, IgnoresOurOwnKeyAsAPeer) {
  test::FakeDevice device;
  EXPECT_EQ(set(device, kOwnKey +
                            "allowed_ip=10.0.0.0/8\nendpoint=192.0.2.1:1\nreplace_allowed_ips=true\n"
                            "remove=true\n" +
                            kPeer1 + "allowed_ip=10.0.0.0/8\n\n")
                .error,
            UapiError::none);
  ASSERT_EQ(device.state.peers.size(), 1u);
  EXPECT_EQ(device.state.peers[0].public_key, test::key_number(1));
  EXPECT_EQ(device.finished.size(), 1u);
}

TEST(UapiSet, AddsAndRemovesAllowedIps) {
  test::FakeDevice device;
  set(device, kPeer1 + "allowed_ip=10.0.0.0/8\nallowed_ip=11.0.0.0/8\n\n");
  set(device, kPeer1 + "allowed_ip=-10.9.9.9/8\nallowed_ip=-12.0.0.0/8\n\n");
  ASSERT_EQ(device.state.peers[0].allowed_ips.size(), 1u);
  EXPECT_EQ(device::to_string(device.state.peers[0].allowed_ips[0]), "11.0.0.0/8");
  set(device, kPeer1 + "replace_allowed_ips=true\n\n");
  EXPECT_TRUE(device.state.peers[0].allowed_ips.empty());
}

TEST(UapiSet, SaysWhatTheDeviceRefuses) {
  struct Case {
    std::string lines;
    UapiError error;
  };
  for (const Case& c : std::vector<Case>{{"listen_port=53\n", UapiError::port_in_use},
                                         {"fwmark=1\n", UapiError::port_in_use},
                                         {kPeer1, UapiError::invalid}}) {
    test::FakeDevice device;
    device.refusal = EADDRINUSE;
    const Outcome outcome = set(device, c.lines + "\n");
    EXPECT_EQ(outcome.error, c.error) << c.lines;
    EXPECT_THAT(outcome.text, HasSubstr("Address already in use")) << c.lines;
  }
}

TEST(UapiSet, TakesPeersIntoGroupsAndOutOfThem) {
  test::FakeDevice device;
  const std::string name(32, 'a');
  EXPECT_EQ(set(device, kPeer1 + "group=" + name + "\n" + kPeer2 + "group=Paris-1_b.c\n\n").error, UapiError::none);
  EXPECT_EQ(device.state.peers[0].group, name);
  EXPECT_EQ(device.state.peers[1].group, "Paris-1_b.c");
  EXPECT_EQ(set(device, kPeer1 + "group=\n\n").error, UapiError::none);
  EXPECT_EQ(device.state.peers[0].group, "");
}

TEST(UapiSet, SaysThatAGroupIsFull) {
  test::FakeDevice device;
  device.group_refusal = ENOSPC;
  const Outcome outcome = set(device, kPeer1 + "group=paris\n\n");
  EXPECT_EQ(outcome.error, UapiError::invalid);
  EXPECT_THAT(outcome.text, HasSubstr("group=paris has 64 members already; give this peer another group"));
}

TEST(UapiSet, DropsOneCarriageReturn) {
  test::FakeDevice device;
  EXPECT_EQ(set(device, "listen_port=7\r\n\r\n").error, UapiError::none);
  EXPECT_EQ(device.state.listen_port, 7);
}

TEST(UapiSet, EndsWithTheInput) {
  test::FakeDevice device;
  EXPECT_EQ(set(device, kPeer1).error, UapiError::none);
  EXPECT_EQ(device.finished.size(), 1u);
  EXPECT_EQ(device.publications, 1);
}

TEST(UapiSet, TakesZeroKeysAsTheyAre) {
  test::FakeDevice device;
  device.state.private_key = test::secret_number(1);
  EXPECT_EQ(set(device, "private_key=" + device::to_hex(device::Key{}) + "\n" + kPeer1 +
                            "preshared_key=" + device::to_hex(device::Key{}) + "\n\n")
                .error,
            UapiError::none);
  EXPECT_TRUE(device.state.private_key.is_zero());
}

TEST(UapiErrors, AreTheNumbersOfWireguardGo) {
  EXPECT_EQ(static_cast<int>(UapiError::io), -EIO);
  EXPECT_EQ(static_cast<int>(UapiError::invalid), -EINVAL);
  EXPECT_EQ(static_cast<int>(UapiError::protocol), -EPROTO);
  EXPECT_EQ(static_cast<int>(UapiError::port_in_use), -EADDRINUSE);
  EXPECT_EQ(static_cast<int>(UapiError::unknown), -ENOANO);
  EXPECT_EQ(static_cast<int>(UapiError::too_long), -ENOBUFS) << "ours";
  EXPECT_EQ(static_cast<int>(UapiError::timed_out), -ETIMEDOUT) << "ours";
}

TEST(UapiGet, PrintsNothingForAnUnsetDevice) {
  EXPECT_EQ(std::string(print_get(device::DeviceState{})), "");
}

TEST(UapiGet, PrintsInTheOrderOfWireguardGo) {
  device::DeviceState state;
  state.private_key = test::secret_number(9);
  state.listen_port = 51820;
  state.fwmark = 1;
  device::PeerState& peer = state.peers.emplace_back();
  peer.public_key = test::key_number(1);
  io::Endpoint endpoint;
  ASSERT_TRUE(io::parse_endpoint("[2001:db8::1]:2", endpoint));
  peer.endpoint = endpoint;
  peer.last_handshake_seconds = 1700000000;
  peer.last_handshake_nanoseconds = 5;
  peer.sent_bytes = 18446744073709551615u;
  peer.received_bytes = 7;
  peer.persistent_keepalive_seconds = 25;
  peer.allowed_ips = {*device::parse_prefix("10.0.0.0/8", device::PrefixLength::required)};
  state.peers.emplace_back().public_key = test::key_number(2);
  const std::string zero(64, '0');
  EXPECT_EQ(std::string(print_get(state)),
            "private_key=" + device::to_hex(test::key_number(9)) + "\nlisten_port=51820\nfwmark=1\n" + kPeer1 +
                "preshared_key=" + zero +
                "\nprotocol_version=1\nendpoint=[2001:db8::1]:2\n"
                "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\n"
                "tx_bytes=18446744073709551615\nrx_bytes=7\npersistent_keepalive_interval=25\n"
                "allowed_ip=10.0.0.0/8\n" +
                kPeer2 + "preshared_key=" + zero +
                "\nprotocol_version=1\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
                "tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n");
}

// Setting the lines again must not have members take what they share from one another.
TEST(UapiGet, NamesTheGroupBeforeTheAllowedIpsOfPeersThatHaveOne) {
  test::FakeDevice device;
  set(device, kPeer1 + "allowed_ip=10.0.0.0/8\ngroup=paris\n" + kPeer2 + "\n");
  const std::string text(print_get(device.state));
  EXPECT_THAT(text, HasSubstr("\ngroup=paris\nallowed_ip=10.0.0.0/8\n"));
  EXPECT_EQ(text.find("group="), text.rfind("group="));
}

TEST(UapiGet, RoundTripsAHundredThousandAllowedIps) {
  constexpr uint32_t kAllowedIps = 130560;
  device::DeviceState state;
  device::PeerState& peer = state.peers.emplace_back();
  peer.public_key = test::key_number(1);
  for (uint32_t i = 0; i < kAllowedIps; ++i) {
    device::Prefix prefix;
    const bool v6 = i % 2 == 1;
    prefix.version = v6 ? protocol::IpVersion::v6 : protocol::IpVersion::v4;
    prefix.cidr = v6 ? 128 : 32;
    prefix.address[0] = v6 ? 0xfd : 10;
    prefix.address[1] = static_cast<uint8_t>(i >> 16);
    prefix.address[2] = static_cast<uint8_t>(i >> 8);
    prefix.address[3] = static_cast<uint8_t>(i);
    peer.allowed_ips.push_back(prefix);
  }
  const auto start = std::chrono::steady_clock::now();
  const std::string text(print_get(state));
  const auto printed = std::chrono::steady_clock::now();
  // Only what `set` takes.
  std::string lines = kPeer1;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with("allowed_ip=")) lines += line + "\n";
  test::FakeDevice device;
  const auto ready = std::chrono::steady_clock::now();
  EXPECT_EQ(set(device, lines + "\n").error, UapiError::none);
  const auto applied = std::chrono::steady_clock::now();
  EXPECT_EQ(device.state.peers[0].allowed_ips, peer.allowed_ips);
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  RecordProperty("print_ms", static_cast<int>(duration_cast<milliseconds>(printed - start).count()));
  RecordProperty("parse_ms", static_cast<int>(duration_cast<milliseconds>(applied - ready).count()));
  std::printf("printed in %lld ms, parsed in %lld ms\n",
              static_cast<long long>(duration_cast<milliseconds>(printed - start).count()),
              static_cast<long long>(duration_cast<milliseconds>(applied - ready).count()));
}

}  // namespace
}  // namespace culvert::uapi
