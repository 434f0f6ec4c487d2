// The text of the WireGuard configuration protocol (wireguard.com/xplatform), as wireguard-go speaks it:
// `set` line by line into a UapiTarget, `get` out of a DeviceState. No sockets, no clock.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/endpoint.h"
#include "src/daemon/encoding.h"

namespace culvert::daemon {

// What `errno=` says, always zero or negative (wireguard-go ipc/uapi_unix.go).
enum class UapiError : int {
  none = 0,
  io = -5,            // EIO: a line longer than kMaxUapiLineBytes
  invalid = -22,      // EINVAL: a key or value that is not understood
  protocol = -71,     // EPROTO: not a key=value line
  port_in_use = -98,  // EADDRINUSE: the listen port or the fwmark was refused
  unknown = -55,      // anything else
};

// Longer lines end the operation with UapiError::io.
inline constexpr size_t kMaxUapiLineBytes = 4096;

// How a peer came to be selected by `public_key=`.
enum class PeerOrigin : uint8_t {
  existing,
  created,
  own_key,  // the device's own public key: there is no such peer, and later lines are parsed and ignored
};

// The device as `set` changes it. Calls come in the order of the lines, on one thread. Every change counts at
// once ("not transactional"), but may be published to the workers as late as end_of_operation(). Peers are
// named by public key; a peer that meanwhile vanished is ignored and yields 0. Each call that returns int
// yields 0 or a positive errno, which ends the operation; only set_listen_port, set_fwmark and select_peer
// are expected to fail.
class UapiTarget {
 public:
  virtual ~UapiTarget() = default;

  // As given; all zero clears. The target clamps it, expires keypairs if it changed, and removes the peer
  // whose public key it matches.
  virtual int set_private_key(const Key& private_key) = 0;
  // 0 chooses a free one. Binds at once if the interface is up.
  virtual int set_listen_port(uint16_t port) = 0;
  // 0 clears.
  virtual int set_fwmark(uint32_t mark) = 0;
  virtual int remove_all_peers() = 0;

  // Finds the peer, or creates it without endpoint, allowed IPs and keepalive.
  virtual int select_peer(const Key& public_key, PeerOrigin& origin) = 0;
  virtual int remove_peer(const Key& public_key) = 0;
  // All zero clears.
  virtual int set_preshared_key(const Key& public_key, const Key& preshared_key) = 0;
  virtual int set_endpoint(const Key& public_key, const io::Endpoint& endpoint) = 0;
  // 0 turns it off. From 0 to something sends one keepalive in finish_peer().
  virtual int set_persistent_keepalive(const Key& public_key, uint16_t seconds) = 0;
  virtual int clear_allowed_ips(const Key& public_key) = 0;
  // Masked. Steals the prefix from any other peer.
  virtual int add_allowed_ip(const Key& public_key, const Prefix& prefix) = 0;
  // Masked. No effect when the prefix is another peer's or nobody's.
  virtual int remove_allowed_ip(const Key& public_key, const Prefix& prefix) = 0;

  // The lines of this peer are over without an error (not called after `remove` and the like): start it, send
  // the keepalive that set_persistent_keepalive() promised, send its staged packets.
  virtual void finish_peer(const Key& public_key) = 0;
  // The operation is over, by a blank line, an error or a lost connection: publish what changed. Exactly once
  // per UapiSetParser that was fed a line.
  virtual void end_of_operation() = 0;
};

// One `set` operation, fed with the lines after `set=1`.
//
// Thread safety: none. The target must outlive it. Memory: constant.
class UapiSetParser {
 public:
  explicit UapiSetParser(UapiTarget& target) : target_(target) {}

  enum class Progress : uint8_t { more, finished };

  // Applies one line (without its newline; one trailing carriage return is dropped). `finished` after the
  // blank line or the first error; further calls do nothing. Lines before the bad one stay applied.
  Progress feed_line(std::string_view line);

  // The input ended without a blank line: what wireguard-go takes as the end of the operation.
  void finish();

  // The input is broken: a line is longer than kMaxUapiLineBytes.
  void fail_line_too_long();

  UapiError error() const { return error_; }
  // For the log, "" without an error: what is wrong, with which key and value (keys are never quoted), how to
  // mend it.
  const std::string& error_text() const { return error_text_; }

 private:
  enum class Section : uint8_t { device, peer, ignored_peer };

  void apply_line(std::string_view line);
  void apply_device_line(std::string_view key, std::string_view value);
  void select_peer(std::string_view value);
  void apply_peer_line(std::string_view key, std::string_view value);
  void apply_allowed_ip(std::string_view value);
  void apply_peer_switch(std::string_view key, std::string_view value);
  void leave_peer();
  void end();
  void fail(UapiError error, std::string text);
  void check(int number, UapiError error, std::string_view key, std::string_view value);

  UapiTarget& target_;
  Section section_ = Section::device;
  Key peer_{};
  bool peer_created_ = false;
  bool finished_ = false;
  uint32_t line_number_ = 0;
  UapiError error_ = UapiError::none;
  std::string error_text_;
};

// What `get` prints of one peer.
struct PeerState {
  Key public_key{};
  Key preshared_key{};  // all zero: none
  std::optional<io::Endpoint> endpoint;
  uint64_t last_handshake_seconds = 0;  // Unix time; both zero: never
  uint32_t last_handshake_nanoseconds = 0;
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
  uint16_t persistent_keepalive_seconds = 0;
  std::vector<Prefix> allowed_ips;
};

// What `get` prints of the device.
struct DeviceState {
  Key private_key{};         // all zero: none
  uint16_t listen_port = 0;  // the real one while bound
  uint32_t fwmark = 0;
  std::vector<PeerState> peers;
};

// The reply to `get` in wireguard-go's order and format, without the closing errno line.
std::string print_get(const DeviceState& state);

}  // namespace culvert::daemon
