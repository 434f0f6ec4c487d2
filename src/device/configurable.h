// What may be configured of a device, and what it tells of itself: UAPI and configuration files know no more of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/endpoint.h"
#include "io/source_ports.h"
#include "src/device/encoding.h"

namespace culvert::device {

inline constexpr size_t kMaxGroupMembers = 64;

// How a peer came to be selected by `public_key=`.
enum class PeerOrigin : uint8_t {
  existing,
  created,
  own_key,  // the device's own public key: there is no such peer, and later lines are parsed and ignored
};

// The device as a configuration changes it. All calls of an operation come in one turn of the control thread, in the
// order of its lines, and end with end_of_operation(): readers and workers see all of it or nothing. An error undoes
// nothing ("not transactional"). Peers are named by public key; a peer that meanwhile vanished is ignored and yields 0.
// Each call that returns int yields 0 or a positive errno, which ends the operation; only set_listen_port,
// set_source_ports, set_fwmark, set_workers and select_peer are expected to fail.
class Configurable {
 public:
  virtual ~Configurable() = default;

  // As given; all zero clears. The target clamps it, expires keypairs if it changed, and removes the peer
  // whose public key it matches.
  virtual int set_private_key(const SecretKey& private_key) = 0;
  // 0 chooses a free one. Binds at once if the interface is up; else looks whether the port could be bound. An error
  // (EADDRINUSE: another program has it) leaves the port as it was.
  virtual int set_listen_port(uint16_t port) = 0;
  // How many ports there are to send from, and which. Binds as set_listen_port() does; an error (EADDRINUSE: another
  // program has the listen port or one of a range) leaves them as they were.
  virtual int set_source_ports(const io::SourcePorts& ports) = 0;
  // Why set_listen_port() or set_source_ports() has failed last, with the number of the port; "" if that says no more.
  virtual std::string port_refusal() const { return ""; }
  // 0 clears.
  virtual int set_fwmark(uint32_t mark) = 0;
  // How many workers carry traffic, from now on. Errors: EINVAL (not 1 to 128), EOPNOTSUPP (the number is fixed here).
  virtual int set_workers(uint32_t count) = 0;
  virtual int remove_all_peers() = 0;

  // Finds the peer, or creates it without endpoint, allowed IPs and keepalive.
  virtual int select_peer(const Key& public_key, PeerOrigin& origin) = 0;
  virtual int remove_peer(const Key& public_key) = 0;
  // All zero clears.
  virtual int set_preshared_key(const Key& public_key, const SecretKey& preshared_key) = 0;
  virtual int set_endpoint(const Key& public_key, const io::Endpoint& endpoint) = 0;
  // 0 turns it off. From 0 to something sends one keepalive in finish_peer().
  virtual int set_persistent_keepalive(const Key& public_key, uint16_t seconds) = 0;
  // Over how many of the source ports its flows are spread, at most: 1 is off, 0 as many as the device has. More than 1
  // also says of the peer that it spreads its own (src/pipeline/heard_ports.h).
  virtual int set_peer_source_ports(const Key& public_key, uint16_t count) = 0;
  // Makes the peer a member of the group, which shares its members' allowed IPs, and of no other; "" of none. The peer
  // takes its allowed IPs along. ENOSPC: the group has kMaxGroupMembers. A peer that remove_all_peers() removed and
  // select_peer() creates anew within one operation is a member as before, unless it is told otherwise.
  virtual int set_group(const Key& public_key, const std::string& name) = 0;
  virtual int clear_allowed_ips(const Key& public_key) = 0;
  // Masked. Steals the prefix from any other peer, but for members of the same group.
  virtual int add_allowed_ip(const Key& public_key, const Prefix& prefix) = 0;
  // Masked. No effect when the prefix is another peer's or nobody's.
  virtual int remove_allowed_ip(const Key& public_key, const Prefix& prefix) = 0;

  // The lines of this peer are over without an error (not called after `remove` and the like): start it, send
  // the keepalive that set_persistent_keepalive() promised, send its staged packets.
  virtual void finish_peer(const Key& public_key) = 0;
  // The operation is over, by a blank line, an error or a lost connection: publish what changed. Exactly once
  // per operation.
  virtual void end_of_operation() = 0;
};

// What `get` prints of one peer.
struct PeerState {
  Key public_key{};
  SecretKey preshared_key;  // all zero: none
  std::optional<io::Endpoint> endpoint;
  uint64_t last_handshake_seconds = 0;  // Unix time; both zero: never
  uint32_t last_handshake_nanoseconds = 0;
  uint64_t sent_bytes = 0;
  uint64_t received_bytes = 0;
  uint16_t persistent_keepalive_seconds = 0;
  uint16_t source_ports = 0;        // 0: as the device
  std::vector<Prefix> allowed_ips;  // that it was given; those of a group are all its members'
  std::string group;                // "": none
};

// What `get` prints of the device.
struct DeviceState {
  SecretKey private_key;  // all zero: none
  // The real one while bound, the one to come while the interface is down; 0: not bound although it is up, or any.
  uint16_t listen_port = 0;
  uint32_t fwmark = 0;
  uint32_t workers = 0;  // 0: nobody has asked for a number
  io::SourcePorts source_ports;
  std::vector<PeerState> peers;
};

}  // namespace culvert::device
