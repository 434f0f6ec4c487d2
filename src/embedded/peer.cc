#include "src/embedded/peer.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "crypto/aead.h"
#include "crypto/random.h"
#include "src/protocol/allowed_ips.h"
#include "src/protocol/peer.h"

namespace culvert::embedded {
namespace {

constexpr size_t kMaxPacketBytes = 65000;
constexpr size_t kSealBatch = 128;
// What a single call may do for the timers; the next one is due at once if there is more.
constexpr int kMaxAdvances = 8;

protocol::Duration draw_jitter() {
  return protocol::Duration(crypto::random_below(static_cast<uint32_t>(protocol::kRekeyTimeoutJitterMax.count())));
}

crypto::Secret<32> secret_of(const Key& key) {
  crypto::Secret<32> secret;
  std::copy(key.begin(), key.end(), secret.data());
  return secret;
}

bool is_zero(const Key& key) {
  return std::all_of(
      key.begin(), key.end(), [](uint8_t byte) { return byte == 0; });
}

// The length that an IP packet says it has; 0 for none, or for more than there is.
size_t packet_length(std::span<const uint8_t> text) {
  const auto at = [&](size_t i) { return size_t{text[i]} << 8 | text[i + 1]; };
  size_t length = 0;
  if (text.size() >= 20 && text[0] >> 4 == 4) length = at(2) < 20 ? 0 : at(2);
  if (text.size() >= 40 && text[0] >> 4 == 6) length = at(4) + 40;
  return length > text.size() ? 0 : length;
}

}  // namespace

class Peer::Implementation : public protocol::PeerTag {
 public:
  Implementation(const PeerOptions& options, const Moment& now)
      : identity_(secret_of(options.private_key)),
        peer_(protocol::PublicKey{options.public_key}, this),
        cookie_checker_(identity_.public_key()),
        mtu_(options.mtu) {
    peer_.set_preshared_key(secret_of(options.preshared_key));
    set_now(now);
  }

  bool start(const PeerOptions& options, Output& output) {
    if (is_zero(options.private_key) || is_zero(options.public_key)) return false;
    if (!peer_.set_identity(identity_, indices_)) return false;
    for (const bool v6 : {false, true})
      if (options.allowed_ips.empty() && !allow({.v6 = v6})) return false;
    for (const AllowedIp& allowed : options.allowed_ips)
      if (!allow(allowed)) return false;
    (void)peer_.timers().set_persistent_keepalive(options.persistent_keepalive);
    if (peer_.start()) send_keepalive(output);
    advance(output);
    return true;
  }

  void set_now(const Moment& now) {
    now_ = protocol::Instant(now.since_boot);
    wall_ = protocol::WallTime(now.since_epoch);
  }

  void send(std::span<const std::span<const uint8_t>> packets, Output& output) {
    for (size_t first = 0; first < packets.size(); first += kSealBatch)
      send_batch(packets.subspan(first, std::min(kSealBatch, packets.size() - first)), output);
    advance(output);
  }

  Verdict receive(std::span<const uint8_t> datagram, Output& output) {
    Verdict verdict = Verdict::malformed;
    switch (protocol::classify(datagram)) {
      case protocol::MessageKind::handshake_initiation:
        verdict = receive_initiation(datagram, output);
        break;
      case protocol::MessageKind::handshake_response:
        verdict = receive_response(datagram, output);
        break;
      case protocol::MessageKind::cookie_reply:
        verdict = receive_cookie_reply(datagram);
        break;
      case protocol::MessageKind::transport_data:
        verdict = receive_transport_data(datagram, output);
        break;
      case protocol::MessageKind::unknown_type:
      case protocol::MessageKind::dishonest_length:
        break;
    }
    advance(output);
    return verdict;
  }

  void advance(Output& output) {
    for (int i = 0; i < kMaxAdvances; ++i) {
      const protocol::TimerActions actions = peer_.timers().advance(now_, draw_jitter());
      if (!actions.any()) return;
      if (actions.wipe_keys) (void)peer_.clear_keys(indices_);
      if (actions.give_up) staged_.clear();
      if (actions.send_initiation) send_initiation(output);
      if (actions.send_keepalive || actions.send_persistent_keepalive) flush_or_keepalive(output);
    }
  }

  const protocol::Peer& peer() const { return peer_; }

 private:
  bool allow(const AllowedIp& allowed) {
    const auto version = allowed.v6 ? protocol::IpVersion::v6 : protocol::IpVersion::v4;
    return allowed_ips_.insert({allowed.address, version, allowed.length}, this);
  }

  void append(std::span<const uint8_t> message, Output& output) {
    output.datagrams.emplace_back(message.begin(), message.end());
  }

  void send_initiation(Output& output) {
    const auto initiation =
        peer_.create_initiation(identity_, now_, wall_, draw_jitter(), indices_, crypto::random_uint32);
    if (initiation) append(protocol::wire_bytes(*initiation), output);
  }

  void send_batch(std::span<const std::span<const uint8_t>> packets, Output& output) {
    protocol::Keypair* const keypair = peer_.keypairs().to_send_with();
    const bool sealed = keypair != nullptr && keypair->usable_for_sending(now_) && seal(*keypair, packets, output);
    if (sealed) return;
    for (const std::span<const uint8_t> packet : packets) {
      if (packet.empty() || packet.size() > kMaxPacketBytes) continue;
      if (staged_.size() == protocol::kMaxStagedPackets) staged_.pop_front();
      staged_.emplace_back(packet.begin(), packet.end());
    }
    (void)peer_.marks().want_handshake(now_);
  }

  // Seals all of them, an empty one being a keepalive; false if the counters do not suffice.
  bool seal(protocol::Keypair& keypair, std::span<const std::span<const uint8_t>> packets, Output& output) {
    uint64_t counter = 0;
    if (!keypair.reserve(static_cast<uint32_t>(packets.size()), counter)) return false;
    std::vector<crypto::SealMessage> batch;
    bool has_data = false;
    for (const std::span<const uint8_t> packet : packets) {
      if (packet.size() > kMaxPacketBytes) continue;
      const size_t padded = protocol::padded_length(packet.size(), mtu_);
      Bytes& datagram = output.datagrams.emplace_back(padded + protocol::kTransportOverhead);
      const protocol::TransportHeader header = {static_cast<uint32_t>(protocol::MessageType::transport_data),
                                                keypair.remote_index(), counter};
      std::memcpy(datagram.data(), &header, sizeof header);
      uint8_t* const text = datagram.data() + sizeof header;
      std::copy(packet.begin(), packet.end(), text);
      batch.push_back({keypair.sending_key(), counter++, text, text, static_cast<uint32_t>(padded)});
      has_data |= !packet.empty();
    }
    crypto::seal(batch);
    protocol::TimerMarks& marks = peer_.marks();
    marks.any_authenticated_packet_sent();
    (void)marks.any_authenticated_packet_traversal(now_);
    if (has_data) (void)marks.data_sent(now_);
    if (keypair.wants_rekey_after_send(now_)) (void)marks.want_handshake(now_);
    return true;
  }

  void send_keepalive(Output& output) {
    const std::span<const uint8_t> nothing;
    send_batch({&nothing, 1}, output);
  }

  void flush_or_keepalive(Output& output) {
    if (staged_.empty()) return send_keepalive(output);
    const std::deque<Bytes> staged = std::exchange(staged_, {});
    const std::vector<std::span<const uint8_t>> packets(staged.begin(), staged.end());
    send_batch(packets, output);
  }

  // In these, nobody else holds a keypair: those that a transition pushes out are freed with `retired`.
  Verdict receive_initiation(std::span<const uint8_t> datagram, Output& output) {
    const auto message = protocol::read_message<protocol::HandshakeInitiation>(datagram);
    if (!cookie_checker_.mac1_key().verify(datagram)) return Verdict::forged;
    auto opened = protocol::open_initiation(identity_, message);
    if (!opened || opened->remote_static != peer_.public_key()) return Verdict::forged;
    if (peer_.consume_initiation(*opened, now_) != protocol::InitiationVerdict::ok) return Verdict::forged;
    protocol::RetiredKeypairs retired;
    const auto response = peer_.create_response(now_, draw_jitter(), indices_, crypto::random_uint32, retired);
    if (response) append(protocol::wire_bytes(*response), output);
    return Verdict::accepted;
  }

  Verdict receive_response(std::span<const uint8_t> datagram, Output& output) {
    const auto message = protocol::read_message<protocol::HandshakeResponse>(datagram);
    if (!cookie_checker_.mac1_key().verify(datagram)) return Verdict::forged;
    if (indices_.find_handshake(message.receiver_index) == nullptr) return Verdict::unknown;
    protocol::RetiredKeypairs retired;
    const bool accepted = peer_.consume_response(identity_, message, now_, wall_, indices_, retired);
    if (!accepted) return Verdict::forged;
    flush_or_keepalive(output);
    return Verdict::accepted;
  }

  Verdict receive_cookie_reply(std::span<const uint8_t> datagram) {
    const auto message = protocol::read_message<protocol::CookieReply>(datagram);
    if (indices_.find_peer(message.receiver_index) == nullptr) return Verdict::unknown;
    return peer_.consume_cookie_reply(message, now_) ? Verdict::answered : Verdict::forged;
  }

  Verdict receive_transport_data(std::span<const uint8_t> datagram, Output& output) {
    const auto header = protocol::read_message<protocol::TransportHeader>(datagram);
    protocol::Keypair* const keypair = indices_.find(header.receiver_index);
    if (keypair == nullptr || !keypair->usable_for_receiving(now_)) return Verdict::unknown;
    const size_t length = datagram.size() - protocol::kTransportOverhead;
    if (length > crypto::kMaxAeadMessageBytes) return Verdict::malformed;
    Bytes text(length);
    crypto::OpenMessage message = {keypair->receiving_key(),        header.counter,
                                   datagram.data() + sizeof header, text.data(),
                                   static_cast<uint32_t>(length),   false};
    if (crypto::open({&message, 1}) != 1) return Verdict::forged;
    if (!keypair->lock_replay_window().admit(header.counter)) return Verdict::replayed;
    note_received(*keypair, length > 0, output);
    return length == 0 ? Verdict::accepted : deliver(std::move(text), output);
  }

  void note_received(protocol::Keypair& keypair, bool has_data, Output& output) {
    protocol::TimerMarks& marks = peer_.marks();
    marks.any_authenticated_packet_received();
    (void)marks.any_authenticated_packet_traversal(now_);
    if (has_data) (void)marks.data_received(now_);
    if (!keypair.confirmed() && keypair.confirm()) {
      protocol::RetiredKeypairs retired;
      const bool complete = peer_.received_with(&keypair, wall_, indices_, retired);
      if (complete && !staged_.empty()) flush_or_keepalive(output);
    }
    const protocol::Keypair* const current = peer_.keypairs().to_send_with();
    if (current != nullptr && current->wants_rekey_on_receive(now_)) (void)marks.want_lastminute_handshake(now_);
  }

  Verdict deliver(Bytes text, Output& output) {
    const size_t length = packet_length(text);
    if (length == 0) return Verdict::malformed;
    const bool v6 = text[0] >> 4 == 6;
    const auto* const owner = v6 ? allowed_ips_.find_v6(text.data() + 8) : allowed_ips_.find_v4(text.data() + 12);
    if (owner == nullptr) return Verdict::not_allowed;
    text.resize(length);
    output.packets.push_back(std::move(text));
    return Verdict::accepted;
  }

  const protocol::StaticIdentity identity_;
  protocol::Peer peer_;
  protocol::IndexTable indices_;
  protocol::CookieChecker cookie_checker_;
  protocol::AllowedIps allowed_ips_;
  const size_t mtu_;
  std::deque<Bytes> staged_;
  protocol::Instant now_{};
  protocol::WallTime wall_{};
};

Peer::Peer(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Peer::~Peer() = default;

void Peer::send(std::span<const std::span<const uint8_t>> packets, const Moment& now, Output& output) {
  implementation_->set_now(now);
  implementation_->send(packets, output);
}

Verdict Peer::receive(std::span<const uint8_t> datagram, const Moment& now, Output& output) {
  implementation_->set_now(now);
  return implementation_->receive(datagram, output);
}

void Peer::advance(const Moment& now, Output& output) {
  implementation_->set_now(now);
  implementation_->advance(output);
}

std::optional<std::chrono::nanoseconds> Peer::next_deadline() const {
  const auto deadline = implementation_->peer().timers().next_deadline();
  if (!deadline) return std::nullopt;
  return deadline->time_since_epoch();
}

std::optional<std::chrono::nanoseconds> Peer::last_handshake() const {
  const auto completed = implementation_->peer().last_handshake();
  if (!completed) return std::nullopt;
  return completed->time_since_epoch();
}

std::unique_ptr<Peer> make_peer(const PeerOptions& options, const Moment& now, Output& output) {
  auto implementation = std::make_unique<Peer::Implementation>(options, now);
  if (!implementation->start(options, output)) return nullptr;
  return std::unique_ptr<Peer>(new Peer(std::move(implementation)));
}

Key public_key_of(const Key& private_key) {
  return protocol::StaticIdentity(secret_of(private_key)).public_key().bytes;
}

}  // namespace culvert::embedded
