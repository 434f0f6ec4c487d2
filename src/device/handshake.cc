// Handshake messages in and out, keepalives and timers: the control thread's half of the protocol.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "crypto/aead.h"
#include "crypto/random.h"
#include "src/device/device.h"
#include "src/device/encoding.h"
#include "src/log.h"
#include "src/pipeline/attention.h"

namespace culvert::device {
namespace {

// Handshakes of one turn; the loop looks after everything else in between.
constexpr size_t kHandshakesPerTurn = 64;

// The kernel module's rule: under load from an eighth of the queue on, and for a second after (receive.c).
constexpr size_t kUnderLoadQueue = pipeline::Mailbox::kMaxHandshakes / 8;
constexpr protocol::Duration kUnderLoadMemory = std::chrono::seconds(1);

// Actions may call for new ones (a keepalive without a keypair asks for a handshake), but never without end.
constexpr int kMaxAdvances = 4;

protocol::Duration draw_jitter() {
  constexpr auto kMaxMs =
      std::chrono::duration_cast<std::chrono::milliseconds>(protocol::kRekeyTimeoutJitterMax).count();
  return std::chrono::milliseconds(crypto::random_below(static_cast<uint32_t>(kMaxMs) + 1));
}

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

// "AbCd…wXyZ", as wireguard-go names peers.
std::string short_name(const protocol::PublicKey& key) {
  const std::string text = to_base64(key.bytes);
  return "peer(" + text.substr(0, 4) + "…" + text.substr(39, 4) + ")";
}

}  // namespace

bool Device::attend() {
  bool more = false;
  for (const auto& worker : workers_) {
    pipeline::Mailbox& mailbox = worker->mailbox();
    uint64_t id = 0;
    while (mailbox.attention.try_pop(id)) {
      const auto found = peers_.find(id);
      if (found != peers_.end()) attend_peer(*found->second);
    }
    if (mailbox.overflowed.exchange(false, std::memory_order_acq_rel))
      for (auto& [peer_id, peer] : peers_) attend_peer(*peer);

    if (mailbox.handshakes.size() >= kUnderLoadQueue) under_load_until_ = now_ + kUnderLoadMemory;
    pipeline::HandshakeDatagram datagram;
    size_t taken = 0;
    while (taken < kHandshakesPerTurn && mailbox.handshakes.try_pop(datagram)) {
      receive(datagram);
      ++taken;
    }
    more |= taken == kHandshakesPerTurn;
  }
  return more;
}

void Device::attend_peer(DevicePeer& peer) {
  // Pairs with the release in ask_attention(): what the worker did before it asked is visible.
  const uint32_t attention = peer.path.attention.exchange(0, std::memory_order_acq_rel);
  if (!up_) return;
  const protocol::Keypair* const next = peer.peer.keypairs().next();
  if ((attention & pipeline::kKeypairConfirmed) != 0 && next != nullptr && next->confirmed()) {
    protocol::RetiredKeypairs retired;
    if (peer.peer.received_with(next, wall_, *index_table_, retired)) {
      log_verbose("{} - Handshake complete, keypair confirmed", short_name(peer.peer.public_key()));
      flush(peer);
    }
    retire(std::move(retired));
  }
  if ((attention & pipeline::kStagedLate) != 0) flush(peer);
  advance(peer);
}

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
  const io::SendOutcome sent =
      sockets_->send_datagram(protocol::wire_bytes(reply), datagram.from, protocol::kHandshakeDsField);
  if (sent.error != 0)
    stats_.handshake_send_errors.add(1);
  else
    stats_.cookie_replies_sent.add(1);
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
  if (peer->peer.consume_initiation(*opened, now_) != protocol::InitiationVerdict::ok)
    return rejected(datagram, "the initiation is replayed, too early or not authentic");
  stats_.initiations_received.add(1);
  log_verbose("{} - Received handshake initiation", short_name(peer->peer.public_key()));
  follow(*peer, datagram.from);
  peer->path.rx_bytes.fetch_add(datagram.length, std::memory_order_relaxed);

  ensure_free_index();
  protocol::RetiredKeypairs retired;
  const auto response = peer->peer.create_response(now_, draw_jitter(), *index_table_, random_index_, retired);
  retire(std::move(retired));
  if (response) {
    if (send_to_peer(*peer, protocol::wire_bytes(*response), protocol::kHandshakeDsField)) stats_.responses_sent.add(1);
    log_verbose("{} - Sending handshake response", short_name(peer->peer.public_key()));
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
  log_verbose("{} - Received handshake response", short_name(peer->peer.public_key()));
  follow(*peer, datagram.from);
  peer->path.rx_bytes.fetch_add(datagram.length, std::memory_order_relaxed);
  flush_or_keepalive(*peer);
  advance(*peer);
}

void Device::receive_cookie_reply(const pipeline::HandshakeDatagram& datagram) {
  const auto message = protocol::read_message<protocol::CookieReply>(datagram.bytes);
  DevicePeer* const peer = find_peer(index_table_->find_peer(message.receiver_index));
  if (peer == nullptr || !peer->peer.consume_cookie_reply(message, now_))
    return rejected(datagram, "the cookie reply answers no message of ours");
  stats_.cookie_replies_received.add(1);
  log_verbose("{} - Received cookie reply", short_name(peer->peer.public_key()));
}

void Device::send_initiation(DevicePeer& peer) {
  ensure_free_index();
  const auto initiation =
      peer.peer.create_initiation(identity_, now_, wall_, draw_jitter(), *index_table_, random_index_);
  if (!initiation) return;
  log_verbose("{} - Sending handshake initiation", short_name(peer.peer.public_key()));
  if (send_to_peer(peer, protocol::wire_bytes(*initiation), protocol::kHandshakeDsField))
    stats_.initiations_sent.add(1);
}

bool Device::send_to_peer(DevicePeer& peer, std::span<const uint8_t> message, uint8_t traffic_class) {
  const io::Endpoint endpoint = peer.path.endpoint.load();
  if (sockets_ == nullptr || !endpoint.valid()) return false;
  const io::SendOutcome sent = sockets_->send_datagram(message, endpoint, traffic_class);
  if (sent.source_refused) peer.path.endpoint.forget_source(endpoint.source);
  if (sent.error != 0) {
    stats_.handshake_send_errors.add(1);
    log_verbose("{} - Failed to send to {}: {}", short_name(peer.peer.public_key()), io::to_string(endpoint),
                std::strerror(sent.error));
    return false;
  }
  peer.path.tx_bytes.fetch_add(message.size(), std::memory_order_relaxed);
  return true;
}

// A keypair has come up, or it is time for a sign of life.
void Device::flush_or_keepalive(DevicePeer& peer) {
  // Writes nothing new, but is ordered with the same in Staging::stage(): either its packet is seen here, or
  // that worker sees the new keypair after it and asks for a flush. A fence would do, were it not that
  // ThreadSanitizer knows none.
  if (peer.path.staged.fetch_add(0, std::memory_order_acq_rel) > 0)
    flush(peer);
  else
    send_keepalive(peer);
}

void Device::flush(DevicePeer& peer) {
  for (const auto& worker : workers_) worker->flush_staged(peer.path);
}

void Device::send_keepalive(DevicePeer& peer) {
  protocol::TimerMarks& marks = peer.peer.marks();
  protocol::Keypair* const keypair = peer.peer.current_keypair();
  uint64_t counter = 0;
  if (keypair == nullptr || !keypair->usable_for_sending(now_) || !keypair->reserve(1, counter)) {
    (void)marks.want_handshake(now_);  // the caller advances the timers, which act on it
    return;
  }
  std::array<uint8_t, protocol::kKeepaliveBytes> message;
  const protocol::TransportHeader header = {static_cast<uint32_t>(protocol::MessageType::transport_data),
                                            keypair->remote_index(), counter};
  std::memcpy(message.data(), &header, sizeof header);
  uint8_t* const sealed = message.data() + sizeof header;
  const crypto::SealMessage seal = {keypair->sending_key(), counter, sealed, sealed, 0};
  crypto::seal({&seal, 1});
  marks.any_authenticated_packet_sent();
  (void)marks.any_authenticated_packet_traversal(now_);
  if (send_to_peer(peer, message, 0)) stats_.keepalives_sent.add(1);
  log_verbose("{} - Sending keepalive packet", short_name(peer.peer.public_key()));
  if (keypair->wants_rekey_after_send(now_)) (void)marks.want_handshake(now_);
}

void Device::advance(DevicePeer& peer) {
  for (int i = 0; i < kMaxAdvances; ++i) {
    const protocol::TimerActions actions = peer.peer.timers().advance(now_, draw_jitter());
    if (!actions.any()) break;
    if (actions.wipe_keys) retire(peer.peer.clear_keys(*index_table_));
    if (actions.give_up) {
      log_verbose("{} - Handshake did not complete after {} attempts, giving up", short_name(peer.peer.public_key()),
                  protocol::kMaxTimerHandshakes);
      drop_staged(peer, pipeline::DropReason::handshake_failed);
    }
    if (actions.clear_source) peer.path.endpoint.forget_source(peer.path.endpoint.load().source);
    if (actions.send_initiation) send_initiation(peer);
    if (actions.send_keepalive || actions.send_persistent_keepalive) flush_or_keepalive(peer);
  }
  reschedule(peer);
}

void Device::advance_timers() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    DevicePeer& peer = *deadlines_.begin()->second;
    const std::optional<protocol::Instant> before = peer.deadline;
    advance(peer);
    if (peer.deadline == before) break;  // still due: not before the next turn
  }
}

std::optional<protocol::Instant> Device::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void Device::reschedule(DevicePeer& peer) {
  const std::optional<protocol::Instant> deadline = peer.peer.timers().next_deadline();
  if (deadline == peer.deadline) return;
  if (peer.deadline) deadlines_.erase({*peer.deadline, &peer});
  if (deadline) deadlines_.insert({*deadline, &peer});
  peer.deadline = deadline;
}

}  // namespace culvert::device
