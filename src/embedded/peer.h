// A WireGuard peer inside of another program: packets in, packets and datagrams out, a clock given. It opens no socket,
// starts no thread and reads no clock. This page names nothing else of culvert, and stays as it is within a version's
// first two numbers.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace culvert::embedded {

using Bytes = std::vector<uint8_t>;
using Key = std::array<uint8_t, 32>;

// The two clocks, which the caller reads.
struct Moment {
  std::chrono::nanoseconds since_boot;   // never goes back, and goes on while the machine sleeps (CLOCK_BOOTTIME)
  std::chrono::nanoseconds since_epoch;  // Unix time: the peer refuses handshakes older than one that it has seen
};

struct AllowedIp {
  std::array<uint8_t, 16> address{};  // network byte order; IPv4 uses the first four
  bool v6 = false;
  uint8_t length = 0;  // of the prefix, up to 32 or 128
};

struct PeerOptions {
  Key private_key{};                             // ours; clamped. Wipe it when make_peer() has it
  Key public_key{};                              // the other end's
  Key preshared_key{};                           // all zero: none
  std::chrono::seconds persistent_keepalive{0};  // 0: none
  std::vector<AllowedIp> allowed_ips{};          // what the other end may send from; empty: everything
  size_t mtu = 1420;                             // padding of messages ends there
};

// What a call made, appended. The caller sends `datagrams` to where the other end is, in this order, and takes
// `packets`, which came from it, to where they are addressed.
struct Output {
  std::vector<Bytes> datagrams;
  std::vector<Bytes> packets;
};

enum class Verdict : uint8_t {
  accepted,     // authentic and new: the other end is where this datagram came from, and is answered there from now on
  answered,     // a cookie reply: authentic, but says nothing about where the other end is
  malformed,    // no WireGuard message, or what it holds is no IP packet
  unknown,      // of no handshake and no keypair that we have
  forged,       // not authentic, or a handshake that is replayed or too early
  replayed,     // transport data that was received before
  not_allowed,  // its packet's source address is not in allowed_ips
};

// Thread safety: none, one thread at a time.
class Peer {
 public:
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Seals whole IP packets for the other end, as one batch. Without a keypair the first 128 wait for the handshake
  // that this begins; then the oldest go. A packet of more than 65,000 bytes is dropped.
  void send(std::span<const std::span<const uint8_t>> packets, const Moment& now, Output& output);
  void send(std::span<const uint8_t> packet, const Moment& now, Output& output) { send({&packet, 1}, now, output); }

  // Takes one datagram from the network, whoever sent it. Under a flood of handshakes the caller limits how many get
  // here: each whose mac1 is right costs an X25519.
  Verdict receive(std::span<const uint8_t> datagram, const Moment& now, Output& output);

  // Does what is due: handshakes that are tried again, keepalives, keys that are wiped.
  void advance(const Moment& now, Output& output);

  // When advance() has to be called, as since_boot; nothing: not before the next call of another function. To ask again
  // after each call.
  std::optional<std::chrono::nanoseconds> next_deadline() const;

  // When the last handshake was completed, as since_epoch; nothing: never.
  std::optional<std::chrono::nanoseconds> last_handshake() const;

 private:
  class Implementation;
  friend std::unique_ptr<Peer> make_peer(const PeerOptions& options, const Moment& now, Output& output);
  explicit Peer(std::unique_ptr<Implementation> implementation);

  std::unique_ptr<Implementation> implementation_;
};

// A peer that is ready. Null if a key is zero, or the public one is no key that a secret can be shared with, or an
// allowed IP is too long. With a persistent keepalive the first initiation is in `output`.
std::unique_ptr<Peer> make_peer(const PeerOptions& options, const Moment& now, Output& output);

// The public key that belongs to a private one.
Key public_key_of(const Key& private_key);

}  // namespace culvert::embedded
