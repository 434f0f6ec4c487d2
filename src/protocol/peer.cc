#include "src/protocol/peer.h"

#include <cassert>
#include <utility>

#include "src/protocol/tai64n.h"

namespace culvert::protocol {

namespace {

// Workers stop to find what is about to go; they may still hold it.
void erase_indices(IndexTable& indices, RetiredKeypairs& keypairs) {
  for (const std::unique_ptr<Keypair>& keypair : keypairs) indices.erase(keypair->local_index());
}

}  // namespace

Peer::Peer(const PublicKey& remote_static, PeerHandle handle, uint8_t home_slot)
    : handle_(handle), index_top_byte_(home_slot), handshake_(remote_static), cookie_(remote_static) {
  assert(home_slot < kHomeSlots);
}

bool Peer::set_identity(const StaticIdentity& identity, IndexTable& indices) {
  drop_handshake(indices);
  keypairs_.expire_sending();
  timers_.lift_throttle();
  return handshake_.precompute_static_static(identity);
}

RetiredKeypairs Peer::stop(IndexTable& indices) {
  timers_.stop();
  return clear_keys(indices);
}

RetiredKeypairs Peer::clear_keys(IndexTable& indices) {
  drop_handshake(indices);
  RetiredKeypairs retired = keypairs_.clear();
  erase_indices(indices, retired);
  return retired;
}

std::optional<HandshakeInitiation> Peer::create_initiation(const StaticIdentity& identity, Instant now, WallTime wall,
                                                           Duration jitter, IndexTable& indices,
                                                           const IndexRandom& random) {
  if (!marks().may_initiate(now)) return std::nullopt;
  const uint32_t index = indices.insert_handshake(handle_, index_top_byte_, random);
  HandshakeInitiation message;
  if (!handshake_.create_initiation(identity, index, tai64n(wall), message)) {
    indices.erase(index);
    timers_.initiation_failed(now);
    return std::nullopt;
  }
  replace_pending_index(index, indices);
  cookie_.add_macs(wire_bytes(message), now);
  timers_.handshake_initiated(now, jitter);
  return message;
}

InitiationVerdict Peer::consume_initiation(OpenedInitiation& opened, Instant now) {
  const InitiationVerdict verdict = handshake_.consume_initiation(opened, now);
  if (verdict == InitiationVerdict::ok) timers_.handshake_received(now);
  return verdict;
}

std::optional<HandshakeResponse> Peer::create_response(Instant now, Duration jitter, IndexTable& indices,
                                                       const IndexRandom& random, RetiredKeypairs& retired) {
  const uint32_t index = indices.insert_handshake(handle_, index_top_byte_, random);
  HandshakeResponse message;
  if (!handshake_.create_response(index, message)) {
    indices.erase(index);
    return std::nullopt;
  }
  replace_pending_index(index, indices);
  cookie_.add_macs(wire_bytes(message), now);
  if (!begin_session(now, indices, retired)) return std::nullopt;
  timers_.handshake_responded(now, jitter);
  return message;
}

bool Peer::consume_response(const StaticIdentity& identity, const HandshakeResponse& message, Instant now,
                            WallTime wall, IndexTable& indices, RetiredKeypairs& retired) {
  if (!handshake_.consume_response(identity, message)) return false;
  timers_.handshake_received(now);
  if (!begin_session(now, indices, retired)) return false;
  timers_.handshake_complete();
  last_handshake_ = wall;
  return true;
}

bool Peer::received_with(const Keypair* keypair, WallTime wall, IndexTable& indices, RetiredKeypairs& retired) {
  assert(retired.empty());
  bool became_current = false;
  retired = keypairs_.received_with(keypair, became_current);
  erase_indices(indices, retired);
  if (became_current) {
    timers_.handshake_complete();
    last_handshake_ = wall;
  }
  return became_current;
}

bool Peer::begin_session(Instant now, IndexTable& indices, RetiredKeypairs& retired) {
  std::optional<SessionKeys> keys = handshake_.begin_session();
  if (!keys) return false;
  pending_index_.reset();
  auto keypair = std::make_unique<Keypair>(KeypairParameters{.sending_key = std::move(keys->sending),
                                                             .receiving_key = std::move(keys->receiving),
                                                             .created = now,
                                                             .local_index = keys->local_index,
                                                             .remote_index = keys->remote_index,
                                                             .i_am_initiator = keys->i_am_initiator,
                                                             .owner = handle_});
  indices.insert_keypair(keypair.get());
  assert(retired.empty());
  retired = keypairs_.add(std::move(keypair));
  erase_indices(indices, retired);
  timers_.session_derived(now);
  return true;
}

void Peer::drop_handshake(IndexTable& indices) {
  handshake_.clear();
  if (pending_index_) indices.erase(*pending_index_);
  pending_index_.reset();
}

void Peer::replace_pending_index(uint32_t index, IndexTable& indices) {
  if (pending_index_) indices.erase(*pending_index_);
  pending_index_ = index;
}

}  // namespace culvert::protocol
