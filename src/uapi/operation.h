// One `set` operation: its changes wait here until all of them have arrived, and are then made in one go, so that no
// reader and no packet sees half of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>

#include "io/endpoint.h"
#include "src/device/configurable.h"

namespace culvert::uapi {

// What `errno=` says, always zero or negative (wireguard-go ipc/uapi_unix.go; the last two are ours).
enum class UapiError : int {
  none = 0,
  io = -5,            // EIO: a line longer than kMaxUapiLineBytes
  invalid = -22,      // EINVAL: a key or value that is not understood
  protocol = -71,     // EPROTO: not a key=value line
  port_in_use = -98,  // EADDRINUSE: a port or the fwmark was refused
  unknown = -55,      // anything else
  too_long = -105,    // ENOBUFS: more lines than kMaxUapiLines
  timed_out = -110,   // ETIMEDOUT: the client fell silent in the middle
};

// Of one operation, and of all operations that wait for their end together: 10,000 peers with a hundred allowed IPs
// each, or 50 MiB.
inline constexpr size_t kMaxUapiLines = size_t{1} << 20;

// What one line asks for.
enum class Field : uint8_t {
  nothing,  // such as protocol_version=1
  private_key,
  listen_port,
  source_ports,  // the device's; after public_key peer_source_ports
  fwmark,
  workers,
  replace_peers,
  public_key,
  update_only,
  remove,
  replace_allowed_ips,
  preshared_key,
  endpoint,
  persistent_keepalive_interval,
  peer_source_ports,
  add_allowed_ip,
  remove_allowed_ip,
  group,
};

struct Change {
  Field field = Field::nothing;
  std::variant<uint32_t, device::Key, device::SecretKey, device::Prefix, io::Endpoint, io::SourcePorts, std::string>
      value = uint32_t{0};
};

// Why a change was not made.
struct Refusal {
  size_t line = 0;  // of the operation, from 1
  UapiError error = UapiError::unknown;
  std::string text;
};

// Thread safety: none.
class Operation {
 public:
  // One line, one change. False beyond kMaxUapiLines.
  [[nodiscard]] bool add(Change change);
  size_t lines() const { return changes_.size(); }
  void clear() { changes_.clear(); }

  // Makes the changes in order, up to the first that is refused, and ends the operation of `target`. The peer of the
  // last lines is finished too if they are `complete`: no error ends them.
  std::optional<Refusal> apply(device::Configurable& target, bool complete) const;

 private:
  std::deque<Change> changes_;  // grows without moving keys about
};

}  // namespace culvert::uapi
