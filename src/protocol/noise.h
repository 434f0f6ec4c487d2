// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it (paper section 5.4; Noise specification,
// revision 34): handshake messages without their macs, which cookie.h adds and checks.
//
// A handshake between an initiator and a responder, each with a StaticIdentity and a Handshake for the other:
//
//   initiator                          wire              responder
//   create_initiation()  ── HandshakeInitiation ──▶  open_initiation(), find the peer, consume_initiation()
//   consume_response()   ◀── HandshakeResponse ───   create_response()
//   begin_session()                                  begin_session()
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "src/protocol/keys.h"
#include "src/protocol/messages.h"
#include "src/protocol/tai64n.h"
#include "src/protocol/time.h"

namespace culvert::protocol {

// The state that both sides carry through a handshake: the paper's C and H.
struct Transcript {
  crypto::Secret<crypto::kHashBytes> chaining_key;
  crypto::Hash hash{};

  // C and H before an initiation to this responder: Hash(CONSTRUCTION), and the identifier and the
  // responder's public key mixed in.
  static Transcript to_responder(const PublicKey& responder);

  Transcript clone() const { return {chaining_key.clone(), hash}; }
  void wipe();
};

// What an initiation says before the peer is looked up: who sent it, and what is needed to go on.
struct OpenedInitiation {
  PublicKey remote_static;
  PublicKey remote_ephemeral;
  uint32_t remote_index = 0;
  Transcript transcript;
  std::array<uint8_t, kTai64nBytes + kTagBytes> encrypted_timestamp{};
};

// Decrypts the static key of an initiation that has passed classify() and mac1. Nothing if it was not made
// for this identity, if its ephemeral is of low order, or if there is no identity. One X25519. It does not
// prove who sent it: consume_initiation() does.
//
// Thread safety: as a pure function.
[[nodiscard]] std::optional<OpenedInitiation> open_initiation(const StaticIdentity& identity,
                                                              const HandshakeInitiation& message);

enum class InitiationVerdict : uint8_t {
  ok,
  replayed,  // authentic, but its timestamp is not greater than the greatest seen
  flood,     // authentic, but within 20 ms of the last one
  bad,       // not authentic, or the static keys have no shared secret
};

enum class HandshakeState : uint8_t {
  zeroed,
  created_initiation,
  consumed_initiation,
  created_response,
  consumed_response,
};

// What a finished handshake hands to a keypair. Keys are used with counters from 0 on.
struct SessionKeys {
  SymmetricKey sending;
  SymmetricKey receiving;
  bool i_am_initiator = false;
  uint32_t local_index = 0;   // our sender index: what the peer sends to
  uint32_t remote_index = 0;  // the peer's: goes into every message we send
};

// The handshake with one peer, whichever side starts it; a new initiation, ours or theirs, replaces what was
// pending.
//
// Thread safety: none; the control thread owns it.
// Invariants: a call that fails leaves the state as it was; ephemeral secrets exist only between
// create_initiation() or consume_initiation() and begin_session() or clear().
class Handshake {
 public:
  explicit Handshake(const PublicKey& remote_static) : remote_static_(remote_static) {}

  // The preshared key, all zeros for none; takes effect with the next message.
  void set_preshared_key(const SymmetricKey& key);
  const SymmetricKey& preshared_key() const { return preshared_key_; }

  // Computes DH(static, static), again whenever the identity changes; a pending handshake is dropped since it
  // was made with the old one. False when there is no identity or the result is zero (a low-order public
  // key): no handshake with this peer can succeed then (kernel: wg_noise_precompute_static_static).
  bool precompute_static_static(const StaticIdentity& identity);

  // Initiator. Fills in everything but the macs. `local_index` is the sender index under which the response
  // is looked up. False when the peer's key has no shared secret with ours. Two X25519.
  [[nodiscard]] bool create_initiation(const StaticIdentity& identity, uint32_t local_index, const Tai64n& timestamp,
                                       HandshakeInitiation& out);
  // Responder. `opened` is consumed by success; its remote_static is this peer's.
  [[nodiscard]] InitiationVerdict consume_initiation(OpenedInitiation& opened, Instant now);
  // Responder, after consume_initiation() was ok; false in any other state. Fills in everything but the macs.
  // Three X25519.
  [[nodiscard]] bool create_response(uint32_t local_index, HandshakeResponse& out);
  // Initiator, after create_initiation(). False when the response is forged, for another handshake, or
  // comes in any other state; the pending handshake then goes on waiting. Two X25519. The message was found
  // by its receiver index, which is checked again here.
  [[nodiscard]] bool consume_response(const StaticIdentity& identity, const HandshakeResponse& message);
  // Derives the transport keys and forgets the handshake. Nothing unless a response was created or consumed.
  [[nodiscard]] std::optional<SessionKeys> begin_session();

  // Drops a pending handshake and wipes its secrets. Keeps the static and preshared keys, the greatest
  // timestamp and the time of the last initiation.
  void clear();

  HandshakeState state() const { return state_; }
  const PublicKey& remote_static() const { return remote_static_; }
  // The sender index of the pending handshake, for as long as the index table must hold it: from
  // create_initiation() or create_response() until begin_session() or clear().
  std::optional<uint32_t> local_index() const { return local_index_; }

  // For known-answer tests: the same with a given ephemeral private key, clamped by the caller.
  [[nodiscard]] bool create_initiation_with(crypto::Secret<crypto::kX25519Bytes> ephemeral,
                                            const StaticIdentity& identity, uint32_t local_index,
                                            const Tai64n& timestamp, HandshakeInitiation& out);
  [[nodiscard]] bool create_response_with(crypto::Secret<crypto::kX25519Bytes> ephemeral, uint32_t local_index,
                                          HandshakeResponse& out);

 private:
  // Constant but for reconfiguration.
  PublicKey remote_static_;
  SymmetricKey preshared_key_;
  crypto::Secret<crypto::kX25519Bytes> static_static_;  // zero: not computed, or refused

  // Kept from handshake to handshake.
  Tai64n greatest_timestamp_;
  std::optional<Instant> last_initiation_consumed_;

  // Of the pending handshake.
  HandshakeState state_ = HandshakeState::zeroed;
  Transcript transcript_;
  crypto::Secret<crypto::kX25519Bytes> ephemeral_;
  PublicKey remote_ephemeral_;
  std::optional<uint32_t> local_index_;
  uint32_t remote_index_ = 0;
};

}  // namespace culvert::protocol
