// mac1, mac2 and cookies (WireGuard paper sections 5.3, 5.4.4 and 5.4.7): what makes a loaded responder ask
// for proof that a source address is real before it spends an X25519 on it.
//
// The functions take whole handshake messages, as bytes: an initiation or a response, whose last 32 bytes are
// mac1 and mac2. They have passed classify(), or we made them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "crypto/secret.h"
#include "src/protocol/keys.h"
#include "src/protocol/messages.h"
#include "src/protocol/time.h"

namespace culvert::protocol {

// The key of mac1, which follows from the receiver's public key and so is no secret.
//
// Thread safety: immutable; workers may check mac1 with it before they pass a handshake on.
class Mac1Key {
 public:
  explicit Mac1Key(const PublicKey& receiver);

  // The mac1 that belongs into `message`.
  [[nodiscard]] Mac compute(std::span<const uint8_t> message) const;
  // True when mac1 is right; false too for messages too short to have one.
  [[nodiscard]] bool verify(std::span<const uint8_t> message) const;

 private:
  std::array<uint8_t, 32> key_;
};

enum class MacVerdict : uint8_t {
  invalid_mac,
  valid_mac_no_cookie,    // mac1 is right, mac2 is not: enough unless under load
  valid_mac_with_cookie,  // the sender has shown that it receives at its source address
};

// The receiver's side: ours, one per StaticIdentity; replaced by a new one when the identity changes.
//
// `source` is the source address and port of the datagram, as bytes that are the same each time: a cookie is
// good for that source only.
//
// Thread safety: none but for mac1_key(); the control thread owns it.
class CookieChecker {
 public:
  explicit CookieChecker(const PublicKey& ours);

  const Mac1Key& mac1_key() const { return mac1_key_; }

  [[nodiscard]] MacVerdict validate(std::span<const uint8_t> message, std::span<const uint8_t> source, Instant now);

  // Makes the reply to a message whose mac1 is right. `receiver_index` is the sender index of that message.
  void create_cookie_reply(std::span<const uint8_t> message, uint32_t receiver_index, std::span<const uint8_t> source,
                           Instant now, CookieReply& out);

 private:
  crypto::Secret<kCookieBytes> make_cookie(std::span<const uint8_t> source, Instant now);

  Mac1Key mac1_key_;
  std::array<uint8_t, crypto::kXAeadKeyBytes> cookie_key_;  // from our public key: no secret
  crypto::Secret<32> secret_;                               // changes every kCookieRefreshTime
  std::optional<Instant> secret_born_;
};

// The sender's side: one per peer.
//
// Thread safety: none; the control thread owns it.
class CookieGenerator {
 public:
  explicit CookieGenerator(const PublicKey& remote);

  // Fills in mac1, and mac2 if we hold a cookie that the peer still accepts (zeros if not). Remembers mac1,
  // which a cookie reply must answer.
  void add_macs(std::span<uint8_t> message, Instant now);

  // Takes the cookie of a reply that was found by its receiver index. False when it is not authentic or does
  // not answer the last message: one message, one reply. The caller must not let it change the endpoint.
  [[nodiscard]] bool consume_cookie_reply(const CookieReply& reply, Instant now);

 private:
  Mac1Key mac1_key_;
  std::array<uint8_t, crypto::kXAeadKeyBytes> cookie_key_;
  std::optional<Mac> last_mac1_sent_;  // none once it was answered
  crypto::Secret<kCookieBytes> cookie_;
  std::optional<Instant> cookie_born_;  // none: no cookie
};

}  // namespace culvert::protocol
