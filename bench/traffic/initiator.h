// One WireGuard initiator that shakes hands again and again at next to no cost.
#pragma once

#include <cstdint>
#include <optional>

#include "crypto/blake2s.h"
#include "crypto/x25519.h"
#include "src/protocol/cookie.h"
#include "src/protocol/keys.h"
#include "src/protocol/messages.h"
#include "src/protocol/tai64n.h"
#include "src/protocol/time.h"

namespace culvert::traffic {

// Keeps its ephemeral key, so that all of an initiation but the timestamp and the macs is computed once (WireGuard
// paper section 5.4.2): the machine's time is for the responder, which cannot tell. It has no secrecy of any worth.
//
// Thread safety: none.
class Initiator {
 public:
  explicit Initiator(const protocol::PublicKey& server);

  const protocol::PublicKey& server() const { return server_; }
  const protocol::StaticIdentity& identity() const { return identity_; }

  // Does the X25519s: three of them. False if the server's key is of low order.
  [[nodiscard]] bool prepare();

  // The next initiation, with macs. Timestamps must increase.
  protocol::HandshakeInitiation create_initiation(uint32_t sender_index, const protocol::Tai64n& timestamp,
                                                  protocol::Instant now);

  // Whether this answers the last initiation: by its index and its mac1. Whether it is authentic would take two X25519.
  // An initiation is answered once.
  [[nodiscard]] bool accept_response(const protocol::HandshakeResponse& response);

  // Takes the cookie for the next initiation. False if it is not authentic or answers nothing.
  [[nodiscard]] bool accept_cookie(const protocol::CookieReply& reply, protocol::Instant now);

  // Of the initiation that was not answered yet.
  std::optional<uint32_t> pending_index() const { return pending_index_; }
  void give_up() { pending_index_.reset(); }

 private:
  protocol::PublicKey server_;
  protocol::StaticIdentity identity_;
  protocol::Mac1Key own_mac1_key_;
  protocol::CookieGenerator cookies_;
  std::optional<uint32_t> pending_index_;

  // Constant after prepare(): what comes before the timestamp, the key to seal that with, and H.
  protocol::HandshakeInitiation beginning_{};
  protocol::SymmetricKey timestamp_key_;
  crypto::Hash hash_{};
};

}  // namespace culvert::traffic
