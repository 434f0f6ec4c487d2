#include "src/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "tests/fake_device.h"

namespace culvert::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// Knows one name.
io::Result<io::Endpoint> resolve_for_test(const std::string& host, const std::string& port) {
  io::Endpoint endpoint;
  if (host == "gateway.example" && io::parse_endpoint("[2001:db8::5]:" + port, endpoint)) return endpoint;
  return io::Error{0, "no such name"};
}

ConfigOutcome parse(const std::string& text) {
  return parse_config(text, "wg0.conf", resolve_for_test);
}

std::string base64(uint8_t n) {
  return device::to_base64(test::key_number(n));
}

TEST(Config, ReadsEveryKey) {
  const ConfigOutcome outcome = parse("# a comment\n\n[Interface]\nPrivateKey = " + base64(9) +
                                      " # mine\nListenPort=51820\nFwMark = 0xCa6c\nAddress = 10.0.0.1/24, fd00::1/64\n"
                                      "Address = 10.1.0.1\nMTU = 1380\r\n[Peer]\nPublicKey = " +
                                      base64(1) + "\nPresharedKey = " + base64(2) +
                                      "\nAllowedIPs = 10.0.0.5/24 , fd00::/8\nallowedips = 192.0.2.1\n"
                                      "Endpoint = gateway.example:51820\nPERSISTENTKEEPALIVE = 25\n[peer]\n"
                                      "PublicKey = " +
                                      base64(3) +
                                      "\nEndpoint = 192.0.2.7:7\nPersistentKeepalive = off\nAllowedIPs =\n"
                                      "AllowedIPs = +10.9.0.0/16, -10.9.0.0/16");
  ASSERT_TRUE(outcome) << outcome.errors.front();
  const Config& config = outcome.config;
  EXPECT_EQ(config.private_key, test::secret_number(9));
  EXPECT_EQ(config.listen_port, 51820);
  EXPECT_EQ(config.fwmark, 0xca6cu);
  ASSERT_THAT(config.host.addresses, SizeIs(3));
  EXPECT_EQ(device::to_string(config.host.addresses[0]), "10.0.0.1/24");
  EXPECT_EQ(device::to_string(config.host.addresses[1]), "fd00::1/64");
  EXPECT_EQ(device::to_string(config.host.addresses[2]), "10.1.0.1/32");
  EXPECT_EQ(config.host.mtu, 1380u);
  ASSERT_THAT(config.peers, SizeIs(2));
  EXPECT_EQ(config.peers[0].public_key, test::key_number(1));
  EXPECT_EQ(config.peers[0].preshared_key, test::secret_number(2));
  ASSERT_THAT(config.peers[0].allowed_ips, SizeIs(3));
  EXPECT_EQ(device::to_string(config.peers[0].allowed_ips[0].prefix), "10.0.0.0/24");
  EXPECT_EQ(device::to_string(config.peers[0].allowed_ips[2].prefix), "192.0.2.1/32");
  EXPECT_EQ(io::to_string(*config.peers[0].endpoint), "[2001:db8::5]:51820");
  EXPECT_EQ(config.peers[0].persistent_keepalive_seconds, 25);
  EXPECT_EQ(config.peers[1].persistent_keepalive_seconds, 0);
  ASSERT_THAT(config.peers[1].allowed_ips, SizeIs(2));
  EXPECT_FALSE(config.peers[1].allowed_ips[0].remove);
  EXPECT_TRUE(config.peers[1].allowed_ips[1].remove);
}

TEST(Config, TakesPortsOfDpdk) {
  EXPECT_FALSE(parse("[Interface]").config.dpdk.has_value());
  const ConfigOutcome all = parse(
      "[Interface]\nDpdk = --no-huge --vdev=net_memif0,id=0\nOuterPort = net_memif0 address=192.0.2.1/24\n"
      "InnerPort = net_memif1\nBusyPoll = true");
  ASSERT_TRUE(all) << all.errors.front();
  EXPECT_EQ(all.config.dpdk->arguments, "--no-huge --vdev=net_memif0,id=0");
  EXPECT_EQ(all.config.dpdk->outer->addresses.size(), 1u);
  EXPECT_EQ(all.config.dpdk->inner->name, "net_memif1");
  EXPECT_TRUE(all.config.dpdk->busy_poll);
  EXPECT_EQ(parse("[Interface]\nDpdk =").config.dpdk, device::DpdkRequest()) << "a card by its only port";
}

TEST(Config, TakesANumberOfWorkersOrTheirCpus) {
  EXPECT_FALSE(parse("[Interface]").config.workers.has_value());
  EXPECT_EQ(parse("[Interface]\nWorkers = 3").config.workers->count, 3u);
  EXPECT_EQ(parse("[Interface]\nWorkers = 2,0").config.workers->cpus, (std::vector<int>{2, 0}));
}

TEST(Config, HasShortQueuesUnlessItSaysNo) {
  EXPECT_TRUE(parse("[Interface]").config.short_queues);
  EXPECT_TRUE(parse("[Interface]\nShortQueues = true").config.short_queues);
  EXPECT_FALSE(parse("[Interface]\nshortqueues = False").config.short_queues);
}

TEST(Config, TakesAnEmptyFile) {
  for (const char* text : {"", "\n", "# nothing", "[Interface]"}) EXPECT_TRUE(parse(text)) << text;
}

TEST(Config, SaysWhereEachWrongLineIsAndHowToMendIt) {
  struct Case {
    const char* name;
    std::string line;
    bool in_peer;
    const char* mend;
    int number = 4;  // of the line that is wrong
  };
  const std::vector<Case> cases = {
      {"no equals sign", "ListenPort 5", false, "write 'Key = value'"},
      {"an unknown key", "Listen = 5", false, "[Interface] has no setting 'Listen'; use PrivateKey, ListenPort"},
      {"an empty key", "= 5", false, "use PrivateKey"},
      {"a peer's key in [Interface]", "PublicKey = " + base64(1), false, "use PrivateKey"},
      {"a private key in hex", "PrivateKey = " + device::to_hex(test::key_number(1)), false, "44 characters of base64"},
      {"an empty private key", "PrivateKey =", false, "44 characters"},
      {"a port above the range", "ListenPort = 65536", false, "is not a port, 0 (any free one) to 65535"},
      {"a port by name", "ListenPort = http", false, "is not a port, 0 (any free one) to 65535"},
      {"a mark above the range", "FwMark = 0x100000000", false, "0xffffffff"},
      {"a mark with a tail", "FwMark = 5x", false, "off, 0 to"},
      {"0x alone", "FwMark = 0x", false, "off, 0 to"},
      {"a negative mark", "FwMark = -1", false, "off, 0 to"},
      {"a wrong port", "Dpdk =\nOuterPort = p vlan=0", false, "OuterPort: 'vlan=0' is wrong: use vlan=1", 5},
      {"a port without DPDK", "OuterPort = p", false, "there is no Dpdk; add 'Dpdk = '"},
      {"an inner port and an address", "Dpdk =\nInnerPort = p\nAddress = 10.0.0.1/24", false,
       "Address is for a TUN device", 5},
      {"no word of busy polling", "Dpdk =\nBusyPoll = 1", false, "BusyPoll '1' is neither true nor false", 5},
      {"no switch", "ShortQueues = off", false, "ShortQueues 'off' is neither true nor false"},
      {"no number of workers", "Workers = 0", false, "Workers '0' is no number of workers: use auto"},
      {"an address that is none", "Address = 10.0.0.1/33", false, "10.0.0.1/24"},
      {"an MTU too small", "MTU = 67", false, "68 to 65535"},
      {"an MTU too large", "MTU = 65536", false, "68 to 65535"},
      {"DNS of wg-quick", "DNS = 192.0.2.53", false, "wg-quick"},
      {"Table of wg-quick", "table = off", false, "wg-quick"},
      {"PostUp of wg-quick", "PostUp = iptables -A INPUT", false, "wg-quick"},
      {"PreUp of wg-quick", "PreUp = x", false, "wg-quick"},
      {"PreDown of wg-quick", "PreDown = x", false, "wg-quick"},
      {"PostDown of wg-quick", "PostDown = x", false, "wg-quick"},
      {"SaveConfig of wg-quick", "SaveConfig = true", false, "wg-quick"},
      {"an unknown section", "[Peers]", false, "use [Interface] and [Peer]"},
      {"a section without its end", "[Peer", false, "use [Interface] and [Peer]"},
      {"an interface's key in [Peer]", "ListenPort = 5", true, "use PublicKey, PresharedKey"},
      {"a public key that is too short", "PublicKey = AAAA", true, "44 characters"},
      {"a preshared key that is no base64", "PresharedKey = " + std::string(44, '*'), true, "44 characters"},
      {"an allowed IP that is none", "AllowedIPs = 10.0.0.0/8, 10.0.0", true, "10.0.0.0/24"},
      {"an allowed IP with two signs", "AllowedIPs = +-10.0.0.0/8", true, "10.0.0.0/24"},
      {"a name that cannot be resolved", "Endpoint = nowhere.example:51820", true, "no such name"},
      {"an endpoint without a port", "Endpoint = gateway.example", true, "gateway.example' is not HOST:PORT, such as"},
      {"an endpoint with an empty port", "Endpoint = gateway.example:", true, "is not HOST:PORT, such as"},
      {"an endpoint without a host", "Endpoint = :51820", true, "is not HOST:PORT, such as"},
      {"a v6 endpoint without brackets", "Endpoint = 2001:db8::1:51820", true, "is not HOST:PORT, such as"},
      {"an endpoint with half its brackets", "Endpoint = [2001:db8::1:51820", true, "is not HOST:PORT, such as"},
      {"a keepalive above the range", "PersistentKeepalive = 65536", true, "1 to 65535 seconds"},
      {"a keepalive that is no number", "PersistentKeepalive = 25s", true, "1 to 65535 seconds"},
      {"a group without a name", "Group =", true, "1 to 32 letters"},
      {"a group with a sign in its name", "Group = paris!", true, "1 to 32 letters"},
  };
  for (const Case& c : cases) {
    const std::string before =
        c.in_peer ? "[Interface]\n[Peer]\nPublicKey = " + base64(1) + "\n" : "[Interface]\n\n# a comment\n";
    const ConfigOutcome outcome = parse(before + c.line + "\n");
    ASSERT_THAT(outcome.errors, SizeIs(1)) << c.name;
    EXPECT_THAT(outcome.errors[0], HasSubstr("wg0.conf:" + std::to_string(c.number) + ": ")) << c.name;
    EXPECT_THAT(outcome.errors[0], HasSubstr(c.mend)) << c.name;
  }
}

// A file as providers and wikis write them: wg-quick(8) takes each of these lines.
TEST(Config, TakesAllOfWgQuickForAGateway) {
  const ConfigOutcome outcome = parse_gateway_config(
      "\xef\xbb\xbf[Interface]\r\nAddress = 10.2.0.2/32,fd00::2/128,\nAddress=10.3.0.1/24 fd01::1/64\nDNS = 10.2.0.1, "
      "2001:db8::53 corp.example,\nDNS = fe80::1%eth0\nTable = 0x4d2\nPreUp = echo %i # not this\nPostUp = a; b\n"
      "postup = c\nPreDown = d\nPostDown = e\nPostDown =\nSaveConfig = TRUE\nForward = yes\nMasquerade = eth0, "
      "wlan0\nResolve = 5m\n[Peer]\nPublicKey = " +
          base64(1) + "\nEndpoint = vpn.example:51820\n",
      "wg0.conf");
  ASSERT_TRUE(outcome) << outcome.errors.front();
  const host::Settings& host = outcome.config.host;
  EXPECT_THAT(host.addresses, SizeIs(4));
  EXPECT_THAT(host.dns_servers, ElementsAre("10.2.0.1", "2001:db8::53", "fe80::1%eth0"));
  EXPECT_THAT(host.dns_search, ElementsAre("corp.example"));
  EXPECT_EQ(host.table, (host::TableChoice{host::TableChoice::Kind::number, 1234, ""}));
  EXPECT_THAT(host.pre_up, ElementsAre("echo %i"));
  EXPECT_THAT(host.post_up, ElementsAre("a; b", "c"));
  EXPECT_THAT(host.pre_down, ElementsAre("d"));
  EXPECT_THAT(host.post_down, ElementsAre("e"));
  EXPECT_TRUE(host.save);
  EXPECT_TRUE(host.forward);
  EXPECT_THAT(host.masquerade, ElementsAre("eth0", "wlan0"));
  EXPECT_EQ(outcome.config.resolve_every, std::chrono::minutes(5));
  EXPECT_FALSE(outcome.config.peers.at(0).endpoint);
  EXPECT_EQ(outcome.config.peers.at(0).endpoint_name, (EndpointName{"vpn.example", 51820}));
}

TEST(Config, SaysHowToMendTheLinesOfAGateway) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"DNS = 10.0.0", "is neither a server's address"},
      {"DNS = 10.0.0.1; nameserver", "is neither a server's address"},
      {"DNS = $(reboot)", "is neither a server's address"},
      {"Table = maybe", "auto, off, main, a number"},
      {"Table = 0", "auto, off, main, a number"},
      {"Table = 4294967296", "auto, off, main, a number"},
      {"SaveConfig = perhaps", "neither true nor false"},
      {"Forward = eth0", "neither true nor false"},
      {"Masquerade = \"; drop", "1 to 15 letters"},
      {"Resolve = never", "such as 60s"},
      {"Resolve = 25h", "a day at most"},
      {"Resolve = 0", "such as 60s"},
      {"Rules = 5", "has no setting 'Rules'; use PrivateKey"},
      {"[Peer]\nPublicKey = " + base64(1) + "\nEndpoint = vpn.example:http", "has no port"},
  };
  for (const auto& [lines, mend] : cases) {
    const ConfigOutcome outcome = parse_gateway_config("[Interface]\n" + lines + "\n", "wg0.conf");
    ASSERT_THAT(outcome.errors, Not(IsEmpty())) << lines;
    EXPECT_THAT(outcome.errors[0], HasSubstr(mend)) << lines;
  }
}

TEST(Config, ReadsTheGroupsOfPeersAndAppliesThem) {
  const ConfigOutcome outcome =
      parse("[Interface]\n[Peer]\nPublicKey = " + base64(1) +
            "\nGroup = paris\nAllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = " + base64(2) +
            "\ngroup = oslo\nGroup=paris # the last one counts\n[Peer]\nPublicKey = " + base64(3) + "\n");
  ASSERT_TRUE(outcome) << outcome.errors.front();
  test::FakeDevice device;
  ASSERT_TRUE(apply_config(outcome.config, device));
  EXPECT_EQ(device.state.peers[0].group, "paris");
  EXPECT_EQ(device.state.peers[1].group, "paris");
  EXPECT_EQ(device.state.peers[2].group, "");
}

TEST(Config, SaysWhichPeerIsOneTooManyForItsGroup) {
  std::string text = "[Interface]\n";
  for (uint8_t n = 1; n <= 65; ++n) text += "[Peer]\nPublicKey = " + base64(n) + "\nGroup = paris\n";
  const ConfigOutcome outcome = parse(text);
  ASSERT_THAT(outcome.errors, SizeIs(1));
  EXPECT_THAT(outcome.errors[0], HasSubstr("wg0.conf:196: Group 'paris' has more than 64 peers; put this one"));
}

TEST(Config, RefusesAKeyBeforeAnySection) {
  EXPECT_THAT(parse("ListenPort = 5").errors.at(0), HasSubstr("wg0.conf:1: 'ListenPort' stands before any section"));
}

TEST(Config, RefusesAPeerWithoutAPublicKeyAtItsSection) {
  const ConfigOutcome outcome = parse("[Peer]\nAllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = " + base64(1) + "\n");
  ASSERT_THAT(outcome.errors, SizeIs(1));
  EXPECT_THAT(outcome.errors[0], HasSubstr("wg0.conf:1: this [Peer] has no PublicKey"));
}

TEST(Config, ListsSeveralErrorsButNotWithoutEnd) {
  EXPECT_THAT(parse("[Interface]\nMTU = x\nListenPort = y\n").errors, SizeIs(2));
  std::string text = "[Interface]\n";
  for (int i = 0; i < 100; ++i) text += "MTU = x\n";
  EXPECT_THAT(parse(text).errors, SizeIs(kMaxConfigErrors));
}

TEST(Config, NeverQuotesAKey) {
  const std::string secret = "c0ffee" + base64(7).substr(7);
  for (const std::string& text :
       {"[Interface]\nPrivateKey = " + secret, "[Peer]\nPresharedKey = " + secret, "[Interface]\n" + secret, secret,
        "[Interface]\nPrivateKey " + secret, "[" + secret}) {
    const ConfigOutcome outcome = parse(text);
    ASSERT_FALSE(outcome);
    EXPECT_THAT(outcome.errors[0], Not(HasSubstr("c0ffee")));
  }
}

TEST(Config, QuotesNeitherMuchNorControlCharacters) {
  const std::string error = parse("[Interface]\nMTU = \x1b[2J" + std::string(5000, 'x')).errors.at(0);
  EXPECT_THAT(error, HasSubstr("MTU '?[2Jxxx"));
  EXPECT_LT(error.size(), 200u);
}

TEST(Config, AppliesToADeviceAndPublishesOnce) {
  test::FakeDevice device;
  device.state.peers.emplace_back().public_key = test::key_number(77);
  const ConfigOutcome outcome =
      parse("[Interface]\nPrivateKey = " + base64(9) + "\nListenPort = 7\n[Peer]\nPublicKey = " + base64(1) +
            "\nPresharedKey = " + base64(2) +
            "\nEndpoint = 192.0.2.1:1\nAllowedIPs = 10.0.0.0/8, 11.0.0.0/8, -10.0.0.0/8\n"
            "PersistentKeepalive = 5\n[Peer]\nPublicKey = " +
            device::to_base64(device.own_public_key) + "\n");
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(apply_config(outcome.config, device));
  EXPECT_EQ(device.state.private_key, test::secret_number(9));
  EXPECT_EQ(device.state.listen_port, 7);
  ASSERT_THAT(device.state.peers, SizeIs(1));
  const device::PeerState& peer = device.state.peers[0];
  EXPECT_EQ(peer.public_key, test::key_number(1));
  EXPECT_EQ(peer.preshared_key, test::secret_number(2));
  EXPECT_EQ(io::to_string(*peer.endpoint), "192.0.2.1:1");
  EXPECT_EQ(peer.persistent_keepalive_seconds, 5);
  ASSERT_THAT(peer.allowed_ips, SizeIs(1));
  EXPECT_EQ(device::to_string(peer.allowed_ips[0]), "11.0.0.0/8");
  EXPECT_THAT(device.finished, SizeIs(1));
  EXPECT_EQ(device.publications, 1);
}

TEST(Config, ReadsSourcePortsOfTheDeviceAndOfPeers) {
  const std::string peer = "[Peer]\nPublicKey = " + device::to_base64(test::key_number(1)) + "\n";
  EXPECT_FALSE(parse("[Interface]\n").config.source_ports) << "what the environment says stays";
  const ConfigOutcome outcome = parse("[Interface]\nSourcePorts = 40000-40007\n" + peer + "SourcePorts = 1\n");
  ASSERT_TRUE(outcome) << outcome.errors[0];
  EXPECT_EQ(outcome.config.source_ports, (io::SourcePorts{8, 40000}));
  test::FakeDevice device;
  ASSERT_TRUE(apply_config(outcome.config, device));
  EXPECT_EQ(device.state.source_ports, (io::SourcePorts{8, 40000}));
  EXPECT_EQ(device.state.peers.at(0).source_ports, 1);
  for (const char* wrong : {"0", "129", "x", "5-4", ""})
    EXPECT_THAT(parse(std::string("[Interface]\nSourcePorts = ") + wrong + "\n").errors.at(0),
                HasSubstr("SourcePorts"));
  for (const char* wrong : {"0", "129", "5-6", ""})
    EXPECT_THAT(parse(peer + "SourcePorts = " + wrong + "\n").errors.at(0), HasSubstr("SourcePorts"));
}

TEST(Config, NamesThePortThatTheDeviceRefusesOnce) {
  test::FakeDevice device;
  device.refusal = EADDRINUSE;
  device.port_refusal_text = "UDP port 40003 is taken by another program";
  const io::Status status = apply_config(parse("[Interface]\nListenPort = 40003\n").config, device);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().text(), "ListenPort 40003: UDP port 40003 is taken by another program");
}

TEST(Config, SaysWhatTheDeviceRefuses) {
  test::FakeDevice device;
  device.refusal = EADDRINUSE;
  const io::Status status = apply_config(parse("[Interface]\nListenPort = 53\n").config, device);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().text(),
            "ListenPort 53 is taken by another program (end it, or choose another ListenPort): Address already in use");
  EXPECT_EQ(device.publications, 1);
}

TEST(Config, LoadsAFile) {
  const std::string path = ::testing::TempDir() + "/culvert_config_test.conf";
  std::ofstream(path) << "[Interface]\nListenPort = 5\n";
  const ConfigOutcome outcome = load_config(path);
  std::remove(path.c_str());
  ASSERT_TRUE(outcome) << outcome.errors[0];
  EXPECT_EQ(outcome.config.listen_port, 5);
}

TEST(Config, SaysWhichFileCannotBeRead) {
  EXPECT_THAT(load_config("/nonexistent/wg0.conf").errors.at(0),
              HasSubstr("/nonexistent/wg0.conf: cannot be read: No such file or directory"));
  EXPECT_THAT(load_config("/proc").errors.at(0), HasSubstr("/proc: cannot be read: Is a directory"));
  EXPECT_THAT(load_config("/dev/zero").errors.at(0), HasSubstr("File too large"));
}

TEST(Config, OfAGatewayIsAFileAndWaitsForNoWriter) {
  char folder[] = "/tmp/culvert-config-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string pipe = std::string(folder) + "/wg0.conf";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(load_gateway_config(pipe).errors.at(0), HasSubstr("wg0.conf: cannot be read: Invalid argument"));
  EXPECT_THAT(load_gateway_config("/proc").errors.at(0), HasSubstr("Is a directory"));
  ::unlink(pipe.c_str());
  ::rmdir(folder);
}

TEST(ResolveEndpoint, TakesNumbersAndSaysWhatFailed) {
  const auto v4 = resolve_endpoint("192.0.2.1", "7");
  ASSERT_TRUE(v4);
  EXPECT_EQ(io::to_string(*v4), "192.0.2.1:7");
  const auto v6 = resolve_endpoint("2001:db8::1", "7");
  ASSERT_TRUE(v6);
  EXPECT_EQ(io::to_string(*v6), "[2001:db8::1]:7");
  EXPECT_FALSE(resolve_endpoint("192.0.2.1", "no-such-service"));
}

}  // namespace
}  // namespace culvert::config
