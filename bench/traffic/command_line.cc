#include "bench/traffic/command_line.h"

#include <CLI/CLI.hpp>

#include "bench/traffic/datagram.h"
#include "bench/traffic/sockets.h"
#include "src/device/encoding.h"

namespace culvert::traffic {
namespace {

constexpr uint32_t kMaxFlows = 1024;
constexpr uint32_t kMaxTransactionBytes = 1 << 20;
constexpr double kMaxSeconds = 86400;

// Words as they were given; what they mean is checked after CLI11 has accepted all of them.
struct Words {
  std::string address;
  uint16_t port = 0;
  std::string control_path;
  std::string size;
  bool gso = false;
  double rate = 0;
  uint16_t flows = 1;
  double seconds = 0;
  uint32_t bytes = 1;
  LossFreeRateOptions search;
  HandshakeOptions handshakes;
  std::string server_key;
  std::string sources;
  WaitsOptions waits;
  bool outer_v6 = false;
};

using Refusal = std::runtime_error;

io::Endpoint endpoint_of(const Words& words) {
  const auto endpoint = parse_address(words.address, words.port);
  if (!endpoint) throw Refusal("'" + words.address + "' is no IP address; give one such as 10.80.0.2 or fd80::2");
  return *endpoint;
}

SenderOptions sender_of(const Words& words) {
  const auto size = parse_payload_size(words.size);
  if (!size) {
    throw Refusal("--size '" + words.size + "' is neither imix nor a number from " + std::to_string(kMinPayloadBytes) +
                  " to " + std::to_string(kMaxPayloadBytes));
  }
  return {endpoint_of(words), *size, words.gso, words.flows};
}

HandshakeOptions handshakes_of(const Words& words) {
  HandshakeOptions options = words.handshakes;
  const auto key = device::key_from_base64(words.server_key);
  if (!key) {
    throw Refusal("--key-of-server '" + words.server_key +
                  "' is no public key; take what `wg show IFNAME public-key` prints");
  }
  options.server.bytes = *key;
  options.seconds = words.seconds;
  if (!words.sources.empty()) {
    options.sources = device::parse_prefix(words.sources, device::PrefixLength::required);
    if (!options.sources)
      throw Refusal("--sources '" + words.sources + "' is no prefix; give one such as 10.71.0.0/16");
  }
  return options;
}

// Options that several commands have.
void add_target(CLI::App* command, Words& words, const char* name) {
  command->add_option(name, words.address, "IPv4 or IPv6 address")->required()->type_name("ADDR");
  command->add_option("--port", words.port, "port")->required()->check(CLI::Range(1, 65535))->type_name("P");
}
void add_control(CLI::App* command, Words& words) {
  command->add_option("--control", words.control_path, "the sink's control socket")->required()->type_name("PATH");
}
void add_stream(CLI::App* command, Words& words) {
  command->add_option("--size", words.size, "bytes of UDP payload, or imix")->required()->type_name("N|imix");
  command->add_flag("--gso", words.gso, "send UDP_SEGMENT superpackets");
  command->add_option("--flows", words.flows, "source ports")->check(CLI::Range(1U, kMaxFlows))->type_name("N");
}
CLI::Option* add_seconds(CLI::App* command, Words& words) {
  return command->add_option("--seconds", words.seconds, "how long")
      ->check(CLI::Range(0.001, kMaxSeconds))
      ->type_name("S");
}

void add_commands(CLI::App& app, Words& words) {
  CLI::App* sink = app.add_subcommand("sink", "receives UDP and counts it, until SIGTERM");
  add_target(sink, words, "--bind");
  add_control(sink, words);

  CLI::App* udp = app.add_subcommand("udp", "sends numbered datagrams to a sink");
  add_target(udp, words, "--to");
  add_stream(udp, words);
  udp->add_option("--rate", words.rate, "datagrams per second; as fast as it goes if not given")
      ->check(CLI::Range(0.001, 1e9))
      ->type_name("PPS");
  add_seconds(udp, words)->required();

  CLI::App* search = app.add_subcommand("search", "finds the highest rate without loss (RFC 2544)");
  add_target(search, words, "--to");
  add_control(search, words);
  add_stream(search, words);
  search->add_option("--trial", words.search.trial_seconds, "seconds of a trial (0.5)")
      ->check(CLI::Range(0.01, kMaxSeconds))
      ->type_name("S");
  search->add_option("--loss", words.search.search.loss, "share that may be lost (0.0)")
      ->check(CLI::Range(0.0, 0.99))
      ->type_name("SHARE");
  search->add_option("--resolution", words.search.search.resolution, "how close it comes (0.05)")
      ->check(CLI::Range(0.001, 0.5))
      ->type_name("SHARE");

  add_target(app.add_subcommand("echo", "TCP server for rr and crr, until SIGTERM"), words, "--bind");

  CLI::App* rr = app.add_subcommand("rr", "requests and responses on one TCP connection, one at a time");
  add_target(rr, words, "--to");
  add_seconds(rr, words)->required();
  rr->add_option("--size", words.bytes, "bytes of a request (1)")
      ->check(CLI::Range(1U, kMaxTransactionBytes))
      ->type_name("N");

  CLI::App* crr = app.add_subcommand("crr", "the same with a new connection for each request");
  add_target(crr, words, "--to");
  add_seconds(crr, words)->required();

  CLI::App* waits = app.add_subcommand("waits", "times sparse probes wherever they pass on their way through a tunnel");
  add_target(waits, words, "--to");
  add_seconds(waits, words)->required();
  waits->add_option("--rate", words.waits.rate, "probes per second (500)")
      ->check(CLI::Range(1.0, 2000.0))
      ->type_name("PPS");
  waits->add_option("--far-namespace", words.waits.far_namespace, "the far end's")->required()->type_name("PATH");
  const auto add_device = [&](const char* name, std::string& device, const char* what) {
    waits->add_option(name, device, what)->required()->type_name("IFNAME");
  };
  add_device("--near-inner", words.waits.near_inner, "the tunnel's device here");
  add_device("--near-outer", words.waits.near_outer, "the device that its datagrams leave by");
  add_device("--far-outer", words.waits.far_outer, "the device that they arrive at");
  add_device("--far-inner", words.waits.far_inner, "the tunnel's device there");
  waits->add_flag("--outer-v6", words.outer_v6, "the datagrams are IPv6");

  CLI::App* handshakes = app.add_subcommand("handshakes", "plays many WireGuard initiators; reads `go ADDR PORT`");
  handshakes->add_option("--config", words.handshakes.config_path, "writes the peers there, for `wg addconf`")
      ->required()
      ->type_name("FILE");
  handshakes->add_option("--peers", words.handshakes.peers, "initiators")
      ->required()
      ->check(CLI::Range(1U, kMaxInitiators))
      ->type_name("K");
  handshakes->add_option("--key-of-server", words.server_key, "the daemon's public key")
      ->required()
      ->type_name("BASE64");
  words.seconds = words.handshakes.seconds;
  add_seconds(handshakes, words);
  handshakes->add_option("--window", words.handshakes.window, "initiations in flight (64)")
      ->check(CLI::Range(1U, kMaxInitiators))
      ->type_name("N");
  handshakes->add_option("--sources", words.sources, "local addresses to send from")->type_name("CIDR");
}

Command command_of(const std::string& name, const Words& words) {
  if (name.empty()) throw Refusal("which command? One of: sink, udp, search, echo, rr, crr, waits, handshakes");
  if (name == "sink") return SinkCommand{endpoint_of(words), words.control_path};
  if (name == "udp") return UdpCommand{sender_of(words), {.rate = words.rate, .seconds = words.seconds}};
  if (name == "echo") return EchoCommand{endpoint_of(words)};
  if (name == "handshakes") return HandshakeCommand{handshakes_of(words)};
  if (name == "waits") {
    WaitsOptions options = words.waits;
    options.to = endpoint_of(words);
    options.seconds = words.seconds;
    options.outer_family = words.outer_v6 ? io::Family::v6 : io::Family::v4;
    return WaitsCommand{options};
  }
  if (name == "search") {
    LossFreeRateOptions options = words.search;
    options.sender = sender_of(words);
    options.control_path = words.control_path;
    return SearchCommand{options};
  }
  return TransactionCommand{
      {.to = endpoint_of(words), .seconds = words.seconds, .bytes = words.bytes, .connect_each_time = name == "crr"}};
}

CommandLineOutcome usage_error(const std::string& command, const std::string& what) {
  const std::string name = command.empty() ? "lab_traffic" : "lab_traffic " + command;
  CommandLineOutcome outcome;
  outcome.exit_code = kExitUsage;
  outcome.output = name + ": " + what + " (see `" + name + " --help`)\n";
  return outcome;
}

std::string chosen(const CLI::App& app) {
  return app.get_subcommands().empty() ? "" : app.get_subcommands().front()->get_name();
}

}  // namespace

CommandLineOutcome parse_command_line(const std::vector<std::string>& arguments) {
  CommandLineOutcome outcome;
  Words words;
  CLI::App app("Traffic for tools/lab: every command prints one JSON object at its end.", "lab_traffic");
  app.require_subcommand(0, 1);
  add_commands(app, words);
  try {
    // CLI11 takes the arguments from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    outcome.command = command_of(chosen(app), words);
  } catch (const CLI::CallForHelp&) {
    outcome.output = app.help();
    return outcome;
  } catch (const std::runtime_error& error) {  // CLI::ParseError is one
    return usage_error(chosen(app), error.what());
  }
  outcome.run = true;
  return outcome;
}

}  // namespace culvert::traffic
