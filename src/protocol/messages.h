// The whole wire format of WireGuard and every limit of the paper (sections 5.4 and 6.1). Anything that can
// be derived is derived.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "crypto/aead.h"
#include "crypto/xchacha20_poly1305.h"
#include "src/protocol/keys.h"
#include "src/protocol/tai64n.h"
#include "src/protocol/time.h"

namespace culvert::protocol {

// Timers.
inline constexpr Duration kRekeyAfterTime = std::chrono::seconds(120);
inline constexpr Duration kRejectAfterTime = std::chrono::seconds(180);
inline constexpr Duration kRekeyAttemptTime = std::chrono::seconds(90);
inline constexpr Duration kRekeyTimeout = std::chrono::seconds(5);
inline constexpr Duration kRekeyTimeoutJitterMax = std::chrono::milliseconds(333);
inline constexpr Duration kKeepaliveTimeout = std::chrono::seconds(10);
// All keys of a peer are wiped when no new keypair came up for this long.
inline constexpr Duration kKeyWipeTime = 3 * kRejectAfterTime;
inline constexpr unsigned kMaxTimerHandshakes = kRekeyAttemptTime / kRekeyTimeout;
// A peer that was sent data and answers nothing for this long gets a new handshake.
inline constexpr Duration kNewHandshakeTime = kKeepaliveTimeout + kRekeyTimeout;
// An initiator that receives data under a keypair this old rekeys, so that no data is lost to its end.
inline constexpr Duration kRekeyOnReceiveTime = kRejectAfterTime - kKeepaliveTimeout - kRekeyTimeout;

// Initiations of one peer are accepted at most this often.
inline constexpr unsigned kInitiationsPerSecond = 50;
inline constexpr Duration kInitiationInterval = Duration(std::chrono::seconds(1)) / kInitiationsPerSecond;
inline constexpr Duration kCookieRefreshTime = std::chrono::seconds(120);
// A cookie is used for this much less than its secret lives, so that it does not expire on its way.
inline constexpr Duration kCookieSecretLatency = std::chrono::seconds(5);

// Counters. A sender stops a whole replay window before its counter would wrap.
inline constexpr uint64_t kReplayWindowBits = 8192;
inline constexpr uint64_t kRekeyAfterMessages = uint64_t{1} << 60;
inline constexpr uint64_t kRejectAfterMessages = UINT64_MAX - kReplayWindowBits;

inline constexpr size_t kMaxStagedPackets = 128;
inline constexpr size_t kMaxPeers = size_t{1} << 20;

// The whole DS field of handshake datagrams: AF41, no ECN (kernel: HANDSHAKE_DSCP).
inline constexpr uint8_t kHandshakeDsField = 0x88;

// Sizes.
inline constexpr size_t kMacBytes = 16;
inline constexpr size_t kCookieBytes = 16;
inline constexpr size_t kCookieNonceBytes = crypto::kXAeadNonceBytes;
inline constexpr size_t kTagBytes = crypto::kAeadTagBytes;
inline constexpr size_t kPaddingMultiple = 16;

// Little-endian integers as they stand on the wire, without alignment.
template <class Integer>
class LittleEndian {
 public:
  LittleEndian() = default;
  constexpr LittleEndian(Integer value) : bytes_(std::bit_cast<Bytes>(swap(value))) {}
  constexpr operator Integer() const { return swap(std::bit_cast<Integer>(bytes_)); }

 private:
  using Bytes = std::array<uint8_t, sizeof(Integer)>;

  static constexpr Integer swap(Integer value) {
    if constexpr (std::endian::native == std::endian::little) return value;
    auto bytes = std::bit_cast<Bytes>(value);
    std::reverse(bytes.begin(), bytes.end());
    return std::bit_cast<Integer>(bytes);
  }

  Bytes bytes_;
};
using Le32 = LittleEndian<uint32_t>;
using Le64 = LittleEndian<uint64_t>;

// The first byte of every message; the three reserved zero bytes behind it make it a Le32.
enum class MessageType : uint32_t {
  handshake_initiation = 1,
  handshake_response = 2,
  cookie_reply = 3,
  transport_data = 4,
};

using Mac = std::array<uint8_t, kMacBytes>;

// The last 32 bytes of both handshake messages.
struct Macs {
  Mac mac1;
  Mac mac2;
};

// Paper section 5.4.2.
struct HandshakeInitiation {
  Le32 type;
  Le32 sender_index;
  std::array<uint8_t, kPublicKeyBytes> unencrypted_ephemeral;
  std::array<uint8_t, kPublicKeyBytes + kTagBytes> encrypted_static;
  std::array<uint8_t, kTai64nBytes + kTagBytes> encrypted_timestamp;
  Macs macs;
};

// Paper section 5.4.3.
struct HandshakeResponse {
  Le32 type;
  Le32 sender_index;
  Le32 receiver_index;
  std::array<uint8_t, kPublicKeyBytes> unencrypted_ephemeral;
  std::array<uint8_t, kTagBytes> encrypted_nothing;
  Macs macs;
};

// Paper section 5.4.7.
struct CookieReply {
  Le32 type;
  Le32 receiver_index;
  std::array<uint8_t, kCookieNonceBytes> nonce;
  std::array<uint8_t, kCookieBytes + kTagBytes> encrypted_cookie;
};

// Paper section 5.4.6: what stands before the encrypted packet and its tag.
struct TransportHeader {
  Le32 type;
  Le32 receiver_index;
  Le64 counter;
};

static_assert(sizeof(Le32) == 4 && alignof(Le32) == 1);
static_assert(sizeof(Le64) == 8 && alignof(Le64) == 1);

static_assert(sizeof(HandshakeInitiation) == 148 && alignof(HandshakeInitiation) == 1);
static_assert(offsetof(HandshakeInitiation, type) == 0);
static_assert(offsetof(HandshakeInitiation, sender_index) == 4);
static_assert(offsetof(HandshakeInitiation, unencrypted_ephemeral) == 8);
static_assert(offsetof(HandshakeInitiation, encrypted_static) == 40);
static_assert(offsetof(HandshakeInitiation, encrypted_timestamp) == 88);
static_assert(offsetof(HandshakeInitiation, macs.mac1) == 116);
static_assert(offsetof(HandshakeInitiation, macs.mac2) == 132);

static_assert(sizeof(HandshakeResponse) == 92 && alignof(HandshakeResponse) == 1);
static_assert(offsetof(HandshakeResponse, type) == 0);
static_assert(offsetof(HandshakeResponse, sender_index) == 4);
static_assert(offsetof(HandshakeResponse, receiver_index) == 8);
static_assert(offsetof(HandshakeResponse, unencrypted_ephemeral) == 12);
static_assert(offsetof(HandshakeResponse, encrypted_nothing) == 44);
static_assert(offsetof(HandshakeResponse, macs.mac1) == 60);
static_assert(offsetof(HandshakeResponse, macs.mac2) == 76);

static_assert(sizeof(CookieReply) == 64 && alignof(CookieReply) == 1);
static_assert(offsetof(CookieReply, type) == 0);
static_assert(offsetof(CookieReply, receiver_index) == 4);
static_assert(offsetof(CookieReply, nonce) == 8);
static_assert(offsetof(CookieReply, encrypted_cookie) == 32);

static_assert(sizeof(TransportHeader) == 16 && alignof(TransportHeader) == 1);
static_assert(offsetof(TransportHeader, type) == 0);
static_assert(offsetof(TransportHeader, receiver_index) == 4);
static_assert(offsetof(TransportHeader, counter) == 8);

// What transport data adds to a padded packet; also the size of a keepalive.
inline constexpr size_t kTransportOverhead = sizeof(TransportHeader) + kTagBytes;
inline constexpr size_t kKeepaliveBytes = kTransportOverhead;

static_assert(kTransportOverhead == 32);
static_assert(kMaxTimerHandshakes == 18);
static_assert(kRejectAfterMessages == 0 - (uint64_t{1} << 13) - 1);

// What an outer datagram claims to be. The first four have a length that fits, so that their fields may be
// read; nothing else is known about them yet.
enum class MessageKind : uint8_t {
  handshake_initiation,
  handshake_response,
  cookie_reply,
  transport_data,
  unknown_type,      // too short for a type, not one of ours, or reserved bytes in use
  dishonest_length,  // a known type with a length that it cannot have
};

constexpr bool is_malformed(MessageKind kind) {
  return kind >= MessageKind::unknown_type;
}
constexpr bool is_handshake(MessageKind kind) {
  return kind <= MessageKind::cookie_reply;
}

// Checks type and length, the only check before fields are read: handshake messages have exactly their size,
// transport data has 32 bytes or more. Any thread.
[[nodiscard]] MessageKind classify(std::span<const uint8_t> datagram);

// The message that starts at the first byte, copied out. `datagram` has passed classify(), or is otherwise
// known to be long enough.
template <class Message>
[[nodiscard]] Message read_message(std::span<const uint8_t> datagram) {
  static_assert(std::is_trivially_copyable_v<Message> && alignof(Message) == 1);
  Message message;
  std::memcpy(&message, datagram.data(), sizeof(Message));
  return message;
}

// The bytes of a message as they go on the wire.
template <class Message>
[[nodiscard]] std::span<uint8_t, sizeof(Message)> wire_bytes(Message& message) {
  static_assert(std::is_trivially_copyable_v<Message> && alignof(Message) == 1);
  return std::span<uint8_t, sizeof(Message)>(reinterpret_cast<uint8_t*>(&message), sizeof(Message));
}
template <class Message>
[[nodiscard]] std::span<const uint8_t, sizeof(Message)> wire_bytes(const Message& message) {
  static_assert(std::is_trivially_copyable_v<Message> && alignof(Message) == 1);
  return std::span<const uint8_t, sizeof(Message)>(reinterpret_cast<const uint8_t*>(&message), sizeof(Message));
}

// Bytes of a packet of `length` bytes once padded: up to a multiple of 16, but never past the MTU, unless
// the packet is longer than that itself: then what exceeds whole MTUs is padded, as if it travelled
// alone. An MTU of 0 sets no limit (paper section 5.4.6; kernel: calculate_skb_padding).
[[nodiscard]] constexpr size_t padded_length(size_t length, size_t mtu) {
  const auto align = [](size_t n) { return (n + kPaddingMultiple - 1) / kPaddingMultiple * kPaddingMultiple; };
  if (mtu == 0) return align(length);
  const size_t last_unit = length > mtu ? length % mtu : length;
  return length - last_unit + std::min(mtu, align(last_unit));
}

}  // namespace culvert::protocol
