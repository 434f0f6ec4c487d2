// Configuration files: wg(8)'s format. `--config` takes Address and MTU beside it, `culvert up` all of wg-quick(8).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"
#include "io/endpoint.h"
#include "io/result.h"
#include "io/source_ports.h"
#include "src/device/configurable.h"
#include "src/device/encoding.h"
#include "src/device/port_request.h"
#include "src/device/worker_request.h"
#include "src/host/settings.h"

namespace culvert::config {

struct ConfigAllowedIp {
  device::Prefix prefix;  // masked
  bool remove = false;    // written with a leading '-'
};

// An endpoint whose address is found out later, and again when it changes.
struct EndpointName {
  std::string host;
  uint16_t port = 0;

  bool operator==(const EndpointName&) const = default;
};

struct ConfigPeer {
  device::Key public_key{};
  device::SecretKey preshared_key;  // all zero: none
  std::optional<io::Endpoint> endpoint;
  std::optional<EndpointName> endpoint_name;  // instead of `endpoint`; never after parse_config() with `resolve`
  uint16_t persistent_keepalive_seconds = 0;
  uint16_t source_ports = 0;  // 0: as the device
  std::vector<ConfigAllowedIp> allowed_ips;
  std::string group;  // "": none
};

// Like `wg setconf`, what the file leaves out is off or empty.
struct Config {
  device::SecretKey private_key;                // all zero: none
  uint16_t listen_port = 0;                     // 0: any
  std::optional<io::SourcePorts> source_ports;  // none: as the command line or the environment say
  uint32_t fwmark = 0;
  std::optional<device::WorkerRequest> workers;  // Workers, for who starts the device
  std::optional<device::DpdkRequest> dpdk;       // Dpdk, OuterPort, InnerPort and BusyPoll, likewise
  bool short_queues = true;                      // ShortQueues, likewise
  host::Settings host;
  std::optional<std::chrono::seconds> resolve_every;  // Resolve; none: when a handshake has failed for a while
  std::vector<ConfigPeer> peers;
};

// A config, or why it is none: each error reads "FILE:LINE: what is wrong and how to mend it".
struct ConfigOutcome {
  Config config;
  std::vector<std::string> errors;  // at most kMaxConfigErrors; then `config` is not to be used

  explicit operator bool() const { return errors.empty(); }
};

inline constexpr size_t kMaxConfigErrors = 20;

// Turns "host" and "port" into an endpoint, or says why it cannot.
using ResolveEndpoint = std::function<io::Result<io::Endpoint>(const std::string& host, const std::string& port)>;

// getaddrinfo(3) for UDP; the first address wins, as with wg(8). Blocks.
io::Result<io::Endpoint> resolve_endpoint(const std::string& host, const std::string& port);

// Parses the whole text of --config; `file_name` is for the errors alone. Pure but for `resolve`.
ConfigOutcome parse_config(std::string_view text, const std::string& file_name, const ResolveEndpoint& resolve);

// Parses the whole text of a file for `culvert up`. Names of endpoints stay names. Pure.
ConfigOutcome parse_gateway_config(std::string_view text, const std::string& file_name);

// Reads and parses a file: the first for --config, with resolve_endpoint(). A file that cannot be read is one error.
ConfigOutcome load_config(const std::string& path);
ConfigOutcome load_gateway_config(const std::string& path);

// Replaces the target's peers and settings by the config's, all but what the host does and names, and publishes once.
// Yields the first refusal; what came before it stays applied.
io::Status apply_config(const Config& config, device::Configurable& target);

// Takes the target, whose state is `now`, from one configuration to another: only what differs is touched, and what
// somebody has set beside the file goes, as with `wg syncconf`. An endpoint that both write alike stays where the peer
// is. Publishes once. Yields the first refusal: with ListenPort's nothing has changed.
io::Status sync_config(const Config& before, const Config& after, const device::DeviceState& now,
                       device::Configurable& target);

// The text of a file that brings back what the interface has now, as SaveConfig wants it. With keys in it.
crypto::SecretString print_config(const Config& config, const device::DeviceState& now);

}  // namespace culvert::config
