#include "src/protocol/noise.h"

#include <cassert>
#include <string_view>
#include <utility>

#include "crypto/aead_single.h"

namespace culvert::protocol {
namespace {

constexpr std::string_view kConstruction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
constexpr std::string_view kIdentifier = "WireGuard v1 zx2c4 Jason@zx2c4.com";

using EphemeralKey = crypto::Secret<crypto::kX25519Bytes>;
using SharedSecret = crypto::Secret<crypto::kX25519Bytes>;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

crypto::Hash mix(const crypto::Hash& hash, std::span<const uint8_t> bytes) {
  return crypto::blake2s({hash, bytes});
}

void mix_hash(Transcript& transcript, std::span<const uint8_t> bytes) {
  transcript.hash = mix(transcript.hash, bytes);
}

// C := Kdf1(C, input).
void mix_key(Transcript& transcript, std::span<const uint8_t> input) {
  crypto::kdf1(transcript.chaining_key.bytes(), input, transcript.chaining_key);
}

// (C, key) := Kdf2(C, input).
SymmetricKey mix_key_for_aead(Transcript& transcript, std::span<const uint8_t> input) {
  SymmetricKey key;
  crypto::kdf2(transcript.chaining_key.bytes(), input, transcript.chaining_key, key);
  return key;
}

// Noise's "e": with a preshared key in the pattern, ephemeral keys go into C too.
void mix_ephemeral(Transcript& transcript, std::span<const uint8_t> ephemeral) {
  mix_hash(transcript, ephemeral);
  mix_key(transcript, ephemeral);
}

// C := Kdf1(C, DH(ours, theirs)). False when the public key is of low order.
bool mix_dh(Transcript& transcript, const EphemeralKey& ours, const PublicKey& theirs) {
  SharedSecret shared;
  if (!crypto::x25519(shared, ours, theirs.bytes)) return false;
  mix_key(transcript, shared.bytes());
  return true;
}

// The same with Kdf2.
bool mix_dh_for_aead(Transcript& transcript, const EphemeralKey& ours, const PublicKey& theirs, SymmetricKey& key) {
  SharedSecret shared;
  if (!crypto::x25519(shared, ours, theirs.bytes)) return false;
  key = mix_key_for_aead(transcript, shared.bytes());
  return true;
}

// (C, T, key) := Kdf3(C, Q); H := Hash(H || T).
SymmetricKey mix_preshared_key(Transcript& transcript, const SymmetricKey& preshared_key) {
  SymmetricKey key;
  crypto::Secret<crypto::kHashBytes> temporary;
  crypto::kdf3(transcript.chaining_key.bytes(), preshared_key.bytes(), transcript.chaining_key, temporary, key);
  mix_hash(transcript, temporary.bytes());
  return key;
}

// Every key seals one message, so the counter is always 0.
void encrypt_and_mix(Transcript& transcript, std::span<uint8_t> sealed, const SymmetricKey& key,
                     std::span<const uint8_t> plaintext) {
  crypto::seal_single(sealed, key, 0, plaintext, transcript.hash);
  mix_hash(transcript, sealed);
}

bool decrypt_and_mix(Transcript& transcript, std::span<uint8_t> plaintext, const SymmetricKey& key,
                     std::span<const uint8_t> sealed) {
  if (!crypto::open_single(plaintext, key, 0, sealed, transcript.hash)) return false;
  mix_hash(transcript, sealed);
  return true;
}

}  // namespace

Transcript Transcript::to_responder(const PublicKey& responder) {
  static const crypto::Hash construction = crypto::blake2s({bytes_of(kConstruction)});
  static const crypto::Hash identified = mix(construction, bytes_of(kIdentifier));
  return {crypto::Secret<crypto::kHashBytes>(construction), mix(identified, responder.bytes)};
}

void Transcript::wipe() {
  chaining_key.wipe();
  crypto::wipe(hash);
}

std::optional<OpenedInitiation> open_initiation(const StaticIdentity& identity, const HandshakeInitiation& message) {
  if (!identity.exists()) return std::nullopt;
  OpenedInitiation opened;
  opened.transcript = Transcript::to_responder(identity.public_key());
  opened.remote_ephemeral.bytes = message.unencrypted_ephemeral;
  opened.remote_index = message.sender_index;
  opened.encrypted_timestamp = message.encrypted_timestamp;
  SymmetricKey key;
  mix_ephemeral(opened.transcript, message.unencrypted_ephemeral);
  if (!mix_dh_for_aead(opened.transcript, identity.private_key(), opened.remote_ephemeral, key) ||
      !decrypt_and_mix(opened.transcript, opened.remote_static.bytes, key, message.encrypted_static))
    return std::nullopt;
  return opened;
}

void Handshake::set_preshared_key(const SymmetricKey& key) {
  preshared_key_ = key.clone();
}

bool Handshake::precompute_static_static(const StaticIdentity& identity) {
  clear();
  static_static_.wipe();
  return identity.exists() && crypto::x25519(static_static_, identity.private_key(), remote_static_.bytes);
}

bool Handshake::create_initiation(const StaticIdentity& identity, uint32_t local_index, const Tai64n& timestamp,
                                  HandshakeInitiation& out) {
  return create_initiation_with(crypto::generate_x25519_private_key(), identity, local_index, timestamp, out);
}

bool Handshake::create_initiation_with(EphemeralKey ephemeral, const StaticIdentity& identity, uint32_t local_index,
                                       const Tai64n& timestamp, HandshakeInitiation& out) {
  if (!identity.exists() || static_static_.is_zero()) return false;
  HandshakeInitiation message{};
  message.type = static_cast<uint32_t>(MessageType::handshake_initiation);
  message.sender_index = local_index;
  crypto::x25519_public_key(message.unencrypted_ephemeral, ephemeral);

  Transcript transcript = Transcript::to_responder(remote_static_);
  mix_ephemeral(transcript, message.unencrypted_ephemeral);
  SymmetricKey key;
  if (!mix_dh_for_aead(transcript, ephemeral, remote_static_, key)) return false;
  encrypt_and_mix(transcript, message.encrypted_static, key, identity.public_key().bytes);
  key = mix_key_for_aead(transcript, static_static_.bytes());
  encrypt_and_mix(transcript, message.encrypted_timestamp, key, timestamp.bytes);

  clear();
  transcript_ = std::move(transcript);
  ephemeral_ = std::move(ephemeral);
  local_index_ = local_index;
  state_ = HandshakeState::created_initiation;
  out = message;
  return true;
}

InitiationVerdict Handshake::consume_initiation(OpenedInitiation& opened, Instant now) {
  if (static_static_.is_zero() || opened.remote_static != remote_static_) return InitiationVerdict::bad;
  Transcript transcript = opened.transcript.clone();
  const SymmetricKey key = mix_key_for_aead(transcript, static_static_.bytes());
  Tai64n timestamp;
  if (!decrypt_and_mix(transcript, timestamp.bytes, key, opened.encrypted_timestamp)) return InitiationVerdict::bad;
  if (timestamp <= greatest_timestamp_) return InitiationVerdict::replayed;
  if (last_initiation_consumed_ && now < *last_initiation_consumed_ + kInitiationInterval)
    return InitiationVerdict::flood;

  clear();
  greatest_timestamp_ = timestamp;
  last_initiation_consumed_ = now;
  transcript_ = std::move(transcript);
  remote_ephemeral_ = opened.remote_ephemeral;
  remote_index_ = opened.remote_index;
  state_ = HandshakeState::consumed_initiation;
  opened.transcript.wipe();
  return InitiationVerdict::ok;
}

bool Handshake::create_response(uint32_t local_index, HandshakeResponse& out) {
  return create_response_with(crypto::generate_x25519_private_key(), local_index, out);
}

bool Handshake::create_response_with(EphemeralKey ephemeral, uint32_t local_index, HandshakeResponse& out) {
  if (state_ != HandshakeState::consumed_initiation) return false;
  HandshakeResponse message{};
  message.type = static_cast<uint32_t>(MessageType::handshake_response);
  message.sender_index = local_index;
  message.receiver_index = remote_index_;
  crypto::x25519_public_key(message.unencrypted_ephemeral, ephemeral);

  Transcript transcript = transcript_.clone();
  mix_ephemeral(transcript, message.unencrypted_ephemeral);
  if (!mix_dh(transcript, ephemeral, remote_ephemeral_)) return false;
  if (!mix_dh(transcript, ephemeral, remote_static_)) return false;
  const SymmetricKey key = mix_preshared_key(transcript, preshared_key_);
  encrypt_and_mix(transcript, message.encrypted_nothing, key, {});

  // The ephemeral private key has done its work and goes out of existence here.
  transcript_ = std::move(transcript);
  local_index_ = local_index;
  state_ = HandshakeState::created_response;
  out = message;
  return true;
}

bool Handshake::consume_response(const StaticIdentity& identity, const HandshakeResponse& message) {
  if (state_ != HandshakeState::created_initiation || message.receiver_index != *local_index_) return false;
  PublicKey remote_ephemeral{message.unencrypted_ephemeral};
  Transcript transcript = transcript_.clone();
  mix_ephemeral(transcript, remote_ephemeral.bytes);
  if (!mix_dh(transcript, ephemeral_, remote_ephemeral)) return false;
  if (!mix_dh(transcript, identity.private_key(), remote_ephemeral)) return false;
  const SymmetricKey key = mix_preshared_key(transcript, preshared_key_);
  if (!decrypt_and_mix(transcript, {}, key, message.encrypted_nothing)) return false;

  transcript_ = std::move(transcript);
  ephemeral_.wipe();
  remote_ephemeral_ = remote_ephemeral;
  remote_index_ = message.sender_index;
  state_ = HandshakeState::consumed_response;
  return true;
}

std::optional<SessionKeys> Handshake::begin_session() {
  const bool i_am_initiator = state_ == HandshakeState::consumed_response;
  if (!i_am_initiator && state_ != HandshakeState::created_response) return std::nullopt;
  SessionKeys keys;
  keys.i_am_initiator = i_am_initiator;
  keys.local_index = *local_index_;
  keys.remote_index = remote_index_;
  SymmetricKey& from_initiator = i_am_initiator ? keys.sending : keys.receiving;
  SymmetricKey& from_responder = i_am_initiator ? keys.receiving : keys.sending;
  crypto::kdf2(transcript_.chaining_key.bytes(), {}, from_initiator, from_responder);
  clear();
  return keys;
}

void Handshake::clear() {
  transcript_.wipe();
  ephemeral_.wipe();
  remote_ephemeral_ = {};
  local_index_.reset();
  remote_index_ = 0;
  state_ = HandshakeState::zeroed;
}

}  // namespace culvert::protocol
