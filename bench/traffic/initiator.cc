#include "bench/traffic/initiator.h"

#include "crypto/aead_single.h"
#include "src/protocol/noise.h"

namespace culvert::traffic {

using protocol::HandshakeInitiation;

Initiator::Initiator(const protocol::PublicKey& server)
    : server_(server),
      identity_(crypto::generate_x25519_private_key()),
      own_mac1_key_(identity_.public_key()),
      cookies_(server) {}

bool Initiator::prepare() {
  beginning_ = {};
  beginning_.type = static_cast<uint32_t>(protocol::MessageType::handshake_initiation);
  const auto ephemeral = crypto::generate_x25519_private_key();
  crypto::x25519_public_key(beginning_.unencrypted_ephemeral, ephemeral);

  protocol::Transcript transcript = protocol::Transcript::to_responder(server_);
  auto& chain = transcript.chaining_key;
  crypto::Secret<crypto::kX25519Bytes> shared;
  protocol::SymmetricKey key;
  hash_ = crypto::blake2s({transcript.hash, beginning_.unencrypted_ephemeral});
  crypto::kdf1(chain.bytes(), beginning_.unencrypted_ephemeral, chain);
  if (!crypto::x25519(shared, ephemeral, server_.bytes)) return false;
  crypto::kdf2(chain.bytes(), shared.bytes(), chain, key);
  crypto::seal_single(beginning_.encrypted_static, key, 0, identity_.public_key().bytes, hash_);
  hash_ = crypto::blake2s({hash_, beginning_.encrypted_static});
  if (!crypto::x25519(shared, identity_.private_key(), server_.bytes)) return false;
  crypto::kdf2(chain.bytes(), shared.bytes(), chain, timestamp_key_);
  return true;
}

HandshakeInitiation Initiator::create_initiation(uint32_t sender_index, const protocol::Tai64n& timestamp,
                                                 protocol::Instant now) {
  HandshakeInitiation message = beginning_;
  message.sender_index = sender_index;
  crypto::seal_single(message.encrypted_timestamp, timestamp_key_, 0, timestamp.bytes, hash_);
  cookies_.add_macs(protocol::wire_bytes(message), now);
  pending_index_ = sender_index;
  return message;
}

bool Initiator::accept_response(const protocol::HandshakeResponse& response) {
  if (!pending_index_ || response.receiver_index != *pending_index_) return false;
  if (!own_mac1_key_.verify(protocol::wire_bytes(response))) return false;
  pending_index_.reset();
  return true;
}

bool Initiator::accept_cookie(const protocol::CookieReply& reply, protocol::Instant now) {
  if (!pending_index_ || reply.receiver_index != *pending_index_) return false;
  if (!cookies_.consume_cookie_reply(reply, now)) return false;
  pending_index_.reset();
  return true;
}

}  // namespace culvert::traffic
