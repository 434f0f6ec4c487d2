// Handshake messages in and out.

#include <algorithm>
#include <array>
#include <cstring>

#include "src/device/device.h"
#include "src/device/encoding.h"
#include "src/log.h"

namespace culvert::device {
namespace {

std::span<const uint8_t> address_bytes(const io::Address& address) {
  return {address.bytes.data(), address.family == io::Family::v4 ? size_t{4} : size_t{16}};
}

// What a cookie is bound to: address and port.
struct CookieSource {
  explicit CookieSource(const io::Endpoint& from) {
    const std::span<const uint8_t> address = address_bytes(from.remote);
    std::copy(address.begin(), address.end(), bytes.begin());
    size = address.size();
    bytes[size++] = static_cast<uint8_t>(from.port >> 8);
    bytes[size++] = static_cast<uint8_t>(from.port);
  }
  std::span<const uint8_t> span() const { return {bytes.data(), size}; }

  std::array<uint8_t, 18> bytes;
  size_t size = 0;
};

}  // namespace

void Device::receive(const pipeline::HandshakeDatagram& datagram) {
  if (!up_ || !cookie_checker_) return;
  switch (protocol::classify({datagram.bytes.data(), datagram.length})) {
    case protocol::MessageKind::handshake_initiation:
      return receive_initiation(datagram);
    case protocol::MessageKind::handshake_response:
      return receive_response(datagram);
    case protocol::MessageKind::cookie_reply:
      return receive_cookie_reply(datagram);
    default:
      return;  // workers pass on nothing else
  }
}

void Device::rejected(const pipeline::HandshakeDatagram& datagram, const char* why) {
  stats_.handshakes_rejected.add(1);
  if (log_enabled(LogLevel::verbose))
    log_verbose("Dropped a handshake message from {}: {}", io::to_string(datagram.from), why);
}

// Whether a handshake message may cost us an X25519: mac1 is right, and under load mac2 and the rate too.
// Answers with a cookie if that is what is missing.
bool Device::passes_cookie_check(const pipeline::HandshakeDatagram& datagram, uint32_t sender_index) {
  const std::span<const uint8_t> message(datagram.bytes.data(), datagram.length);
  const CookieSource source(datagram.from);
  const protocol::MacVerdict verdict = cookie_checker_->validate(message, source.span(), now_);
  if (verdict == protocol::MacVerdict::invalid_mac) {
    rejected(datagram, "mac1 is wrong");
    return false;
  }
  if (now_ >= under_load_until_) return true;
  if (verdict == protocol::MacVerdict::valid_mac_with_cookie) {
    if (rate_limiter_.allow(address_bytes(datagram.from.remote), now_)) return true;
    rejected(datagram, "too many from this source while under load");
    return false;
  }
  protocol::CookieReply reply;
  cookie_checker_->create_cookie_reply(message, sender_index, source.span(), now_, reply);
  const bool sent =
      send(protocol::wire_bytes(reply),
           {.to = datagram.from, .local_port = datagram.local_port, .traffic_class = protocol::kHandshakeDsField});
  if (sent) stats_.cookie_replies_sent.add(1);
  if (log_enabled(LogLevel::verbose))
    log_verbose("Under load: sent a cookie reply to {}", io::to_string(datagram.from));
  return false;
}

void Device::receive_initiation(const pipeline::HandshakeDatagram& datagram) {
  const auto message = protocol::read_message<protocol::HandshakeInitiation>(datagram.bytes);
  if (!passes_cookie_check(datagram, message.sender_index)) return;
  std::optional<protocol::OpenedInitiation> opened = protocol::open_initiation(identity_, message);
  if (!opened) return rejected(datagram, "the initiation is not authentic");
  DevicePeer* const peer = find_peer(opened->remote_static.bytes);
  if (peer == nullptr) return rejected(datagram, "the initiation is from nobody we know");
  if (!peer->peer.timers().running()) return rejected(datagram, "the initiation is from a peer that is not set up yet");
  know_identity(*peer);
  if (peer->peer.consume_initiation(*opened, now_) != protocol::InitiationVerdict::ok)
    return rejected(datagram, "the initiation is replayed, too early or not authentic");
  stats_.initiations_received.add(1);
  log_verbose("{} - Received handshake initiation", log_name(*peer));
  follow(*peer, datagram);
  peer->path.traffic.received_bytes.add(datagram.length);

  ensure_free_index();
  protocol::RetiredKeypairs retired;
  const auto response = peer->peer.create_response(now_, draw_jitter(), *index_table_, random_index_, retired);
  retire(std::move(retired));
  if (response) {
    if (send_to_peer(*peer, protocol::wire_bytes(*response), protocol::kHandshakeDsField)) stats_.responses_sent.add(1);
    log_verbose("{} - Sending handshake response", log_name(*peer));
  }
  advance(*peer);
}

void Device::receive_response(const pipeline::HandshakeDatagram& datagram) {
  const auto message = protocol::read_message<protocol::HandshakeResponse>(datagram.bytes);
  if (!passes_cookie_check(datagram, message.sender_index)) return;
  DevicePeer* const peer = find_peer(index_table_->find_handshake(message.receiver_index));
  if (peer == nullptr) return rejected(datagram, "the response answers no handshake of ours");
  protocol::RetiredKeypairs retired;
  const bool accepted = peer->peer.consume_response(identity_, message, now_, wall_, *index_table_, retired);
  retire(std::move(retired));
  if (!accepted) return rejected(datagram, "the response is not authentic");
  stats_.responses_received.add(1);
  log_verbose("{} - Received handshake response", log_name(*peer));
  follow(*peer, datagram);
  peer->path.traffic.received_bytes.add(datagram.length);
  flush_or_keepalive(*peer);
  advance(*peer);
}

void Device::receive_cookie_reply(const pipeline::HandshakeDatagram& datagram) {
  const auto message = protocol::read_message<protocol::CookieReply>(datagram.bytes);
  DevicePeer* const peer = find_peer(index_table_->find_peer(message.receiver_index));
  if (peer == nullptr || !peer->peer.consume_cookie_reply(message, now_))
    return rejected(datagram, "the cookie reply answers no message of ours");
  stats_.cookie_replies_received.add(1);
  log_verbose("{} - Received cookie reply", log_name(*peer));
}

void Device::send_initiation(DevicePeer& peer) {
  ++initiations_in_turn_;
  ++initiations_;
  know_identity(peer);
  ensure_free_index();
  const auto initiation =
      peer.peer.create_initiation(identity_, now_, wall_, draw_jitter(), *index_table_, random_index_);
  if (!initiation) return;
  log_verbose("{} - Sending handshake initiation", log_name(peer));
  if (peer.membership != nullptr)
    peer.membership->liveness.initiated(workers_.traffic_of(peer.path, &pipeline::PeerTraffic::received_bytes), now_);
  if (send_to_peer(peer, protocol::wire_bytes(*initiation), protocol::kHandshakeDsField))
    stats_.initiations_sent.add(1);
  // The same message: a peer that gets both takes one of them for a replay.
  if (peer.rival != nullptr)
    (void)send(protocol::wire_bytes(*initiation),
               {.to = *peer.rival, .local_port = listen_port_, .traffic_class = protocol::kHandshakeDsField});
}

bool Device::send_to_peer(DevicePeer& peer, std::span<const uint8_t> message, uint8_t traffic_class) {
  if (!peer.path.endpoint.load().valid()) return false;
  return send(
      message,
      {.path = &peer.path, .local_port = peer.path.port_to_answer_from(listen_port_), .traffic_class = traffic_class});
}

// Hands a datagram to a worker, which sends it.
bool Device::send(std::span<const uint8_t> message, pipeline::ControlDatagram datagram) {
  if (local_ports().empty() || workers_.empty()) return false;
  datagram.length = static_cast<uint16_t>(message.size());
  std::copy(message.begin(), message.end(), datagram.bytes.begin());
  if (workers_.front().send_control(datagram)) return true;
  stats_.handshake_send_errors.add(1);
  return false;
}

}  // namespace culvert::device
