// The configuration file of --config: wg(8)'s format, with Address and MTU of wg-quick(8).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/endpoint.h"
#include "io/result.h"
#include "src/device/configurable.h"
#include "src/device/encoding.h"

namespace culvert::config {

struct ConfigAllowedIp {
  device::Prefix prefix;  // masked
  bool remove = false;    // written with a leading '-'
};

struct ConfigPeer {
  device::Key public_key{};
  device::SecretKey preshared_key;  // all zero: none
  std::optional<io::Endpoint> endpoint;
  uint16_t persistent_keepalive_seconds = 0;
  std::vector<ConfigAllowedIp> allowed_ips;
};

// Like `wg setconf`, what the file leaves out is off or empty.
struct Config {
  device::SecretKey private_key;  // all zero: none
  uint16_t listen_port = 0;       // 0: any
  uint32_t fwmark = 0;
  std::vector<device::Prefix> addresses;  // of the interface, host bits kept
  std::optional<uint32_t> mtu;
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

// Parses the whole text; `file_name` is for the errors alone. Pure but for `resolve`.
ConfigOutcome parse_config(std::string_view text, const std::string& file_name, const ResolveEndpoint& resolve);

// Reads and parses a file, with resolve_endpoint(). A file that cannot be read is one error.
ConfigOutcome load_config(const std::string& path);

// Replaces the target's peers and settings by the config's, all but addresses and MTU, and publishes once.
// Yields the first refusal; what came before it stays applied.
io::Status apply_config(const Config& config, device::Configurable& target);

}  // namespace culvert::config
