// A WireGuard responder of a test's own, by src/protocol/ alone.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "src/protocol/cookie.h"
#include "src/protocol/noise.h"

namespace culvert::traffic {

// Answers initiations of the peers that it was given; `now` goes on as its caller says.
class Responder {
 public:
  const protocol::PublicKey& public_key() const { return identity_.public_key(); }

  bool add_peer(const protocol::PublicKey& key) {
    return peers_.try_emplace(key, key).first->second.handshake.precompute_static_static(identity_);
  }

  // The answer to an initiation: a response, a cookie reply if it wants cookies and has seen none, or nothing.
  std::vector<uint8_t> answer(std::span<const uint8_t> message, std::span<const uint8_t> source, bool wants_cookies,
                              protocol::Instant now) {
    if (protocol::classify(message) != protocol::MessageKind::handshake_initiation) return {};
    const auto initiation = protocol::read_message<protocol::HandshakeInitiation>(message);
    const protocol::MacVerdict macs = checker_.validate(message, source, now);
    if (macs == protocol::MacVerdict::invalid_mac) return {};
    if (wants_cookies && macs != protocol::MacVerdict::valid_mac_with_cookie) {
      protocol::CookieReply reply;
      checker_.create_cookie_reply(message, initiation.sender_index, source, now, reply);
      return bytes_of(reply);
    }
    auto opened = protocol::open_initiation(identity_, initiation);
    if (!opened) return {};
    const auto peer = peers_.find(opened->remote_static);
    if (peer == peers_.end()) return {};
    protocol::Handshake& handshake = peer->second.handshake;
    if (handshake.consume_initiation(*opened, now) != protocol::InitiationVerdict::ok) return {};
    protocol::HandshakeResponse response;
    if (!handshake.create_response(1, response)) return {};
    peer->second.macs.add_macs(protocol::wire_bytes(response), now);
    return bytes_of(response);
  }

 private:
  struct Peer {
    explicit Peer(const protocol::PublicKey& key) : handshake(key), macs(key) {}
    protocol::Handshake handshake;
    protocol::CookieGenerator macs;
  };

  template <class Message>
  static std::vector<uint8_t> bytes_of(const Message& message) {
    const auto bytes = protocol::wire_bytes(message);
    return {bytes.begin(), bytes.end()};
  }

  protocol::StaticIdentity identity_{crypto::generate_x25519_private_key()};
  protocol::CookieChecker checker_{identity_.public_key()};
  std::map<protocol::PublicKey, Peer> peers_;
};

}  // namespace culvert::traffic
