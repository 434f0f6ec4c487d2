#include "src/pipeline/inbound.h"

#include <algorithm>
#include <cstring>

#include "src/packet/ecn.h"
#include "src/pipeline/peer_group.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {
namespace {

// A batch is opened and coalesced together. A larger one would leave the cache before it is written.
static_assert(io::Received::kMaxDatagrams <= packet::Coalescer::kMaxPackets);

}  // namespace

Inbound::Inbound(const Published& published, Mailbox& mailbox, WorkerStats& stats)
    : published_(published), mailbox_(mailbox), stats_(stats) {}

size_t Inbound::run(io::InnerSide& inner, io::OuterSide& outer, protocol::Instant now) {
  size_t received = 0;
  do {
    outer.receive(batch_);
    if (batch_.count == 0) break;
    received += batch_.count;
    local_ports_ = outer.local_ports();
    process(inner, now);
    outer.release(batch_);
  } while (batch_.more);
  return received;
}

void Inbound::process(io::InnerSide& inner, protocol::Instant now) {
  allowed_ips_ = published_.allowed_ips.load(std::memory_order_acquire);
  index_table_ = published_.index_table.load(std::memory_order_acquire);
  mac1_key_ = published_.mac1_key.load(std::memory_order_acquire);
  for (io::Datagram& datagram : std::span(batch_.datagrams).first(batch_.count)) classify(datagram, now);
  open_and_write(inner, now);
}

void Inbound::classify(io::Datagram& datagram, protocol::Instant now) {
  switch (protocol::classify({datagram.bytes, datagram.length})) {
    case protocol::MessageKind::transport_data:
      return receive_transport_data(datagram, now);
    case protocol::MessageKind::handshake_initiation:
    case protocol::MessageKind::handshake_response:
      return receive_handshake(datagram);
    case protocol::MessageKind::cookie_reply:
      return receive_cookie_reply(datagram);
    case protocol::MessageKind::unknown_type:
    case protocol::MessageKind::dishonest_length:
      return stats_.drop(DropReason::malformed_datagram);
  }
}

void Inbound::receive_transport_data(io::Datagram& datagram, protocol::Instant now) {
  const auto header = protocol::read_message<protocol::TransportHeader>({datagram.bytes, datagram.length});
  protocol::Keypair* const keypair = index_table_->find(header.receiver_index);
  if (keypair == nullptr) return stats_.drop(DropReason::unknown_index);
  if (!keypair->usable_for_receiving(now)) return stats_.drop(DropReason::keypair_expired);
  uint8_t* const ciphertext = datagram.bytes + sizeof header;
  to_open_[pending_count_] = {keypair->receiving_key(),
                              header.counter,
                              ciphertext,
                              ciphertext,
                              static_cast<uint32_t>(datagram.length - protocol::kTransportOverhead),
                              false};
  pending_[pending_count_++] = {keypair, &datagram};
}

void Inbound::receive_handshake(const io::Datagram& datagram) {
  if (mac1_key_ == nullptr || !mac1_key_->verify({datagram.bytes, datagram.length}))
    return stats_.drop(DropReason::invalid_mac1);
  pass_on(datagram);
}

// A cookie reply has no mac1; what it has to have is the index of a message that we sent.
void Inbound::receive_cookie_reply(const io::Datagram& datagram) {
  const auto reply = protocol::read_message<protocol::CookieReply>({datagram.bytes, datagram.length});
  if (!index_table_->is_ours(reply.receiver_index)) return stats_.drop(DropReason::unknown_index);
  pass_on(datagram);
}

// To the control thread.
void Inbound::pass_on(const io::Datagram& datagram) {
  const io::Envelope& envelope = envelope_of(datagram);
  HandshakeDatagram handshake;
  handshake.from = envelope.endpoint;
  handshake.local_port = envelope.local_port;
  handshake.length = static_cast<uint16_t>(datagram.length);
  std::memcpy(handshake.bytes.data(), datagram.bytes, datagram.length);
  if (mailbox_.handshakes.try_push(handshake))
    mailbox_.control_wakeup.notify();
  else
    stats_.drop(DropReason::handshake_queue_full);
}

void Inbound::open_and_write(io::InnerSide& inner, protocol::Instant now) {
  if (pending_count_ == 0) return;
  stats_.messages_opened.add(crypto::open(std::span(to_open_).first(pending_count_)));
  const io::InnerOffloads offloads = inner.offloads();
  for (size_t first = 0; first < pending_count_;) {
    size_t last = first + 1;
    while (last < pending_count_ && pending_[last].keypair == pending_[first].keypair) ++last;
    admit_run(first, last, offloads, now);
    first = last;
  }
  const std::span<const io::GatheredPacket> packets = coalescer_.finish();
  if (!packets.empty()) {
    const size_t written = inner.write(packets);
    stats_.inner_packets_written.add(written);
    if (written < packets.size()) stats_.drop(DropReason::inner_refused, packets.size() - written);
  }
  coalescer_.clear();
  pending_count_ = 0;
}

void Inbound::admit_run(size_t first, size_t last, const io::InnerOffloads& offloads, protocol::Instant now) {
  protocol::Keypair& keypair = *pending_[first].keypair;
  PeerPath& path = *path_of(keypair.owner());

  {
    protocol::Keypair::Admission admission = keypair.lock_replay_window();
    for (size_t i = first; i < last; ++i) {
      crypto::OpenMessage& message = to_open_[i];
      if (!message.authentic) {
        stats_.drop(DropReason::forged);
      } else if (!admission.admit(message.counter)) {
        message.authentic = false;
        stats_.drop(DropReason::replayed);
      }
    }
  }

  uint64_t bytes = 0;
  const io::Datagram* newest = nullptr;
  bool has_data = false;
  Allowed allowed{.owner = &path};
  for (size_t i = first; i < last; ++i) {
    const crypto::OpenMessage& message = to_open_[i];
    if (!message.authentic) continue;
    newest = pending_[i].datagram;
    bytes += message.length + protocol::kTransportOverhead;
    if (message.length == 0) {
      stats_.keepalives_received.add(1);
    } else {
      has_data = true;
      deliver(message, *pending_[i].datagram, path, allowed, offloads);
    }
  }
  if (newest == nullptr) return;

  mailbox_.traffic.of(path.number).received_bytes.add(bytes);
  const io::Envelope& from = envelope_of(*newest);
  const bool roamed = path.roam(from.endpoint);
  path.asked_at(from.local_port, local_ports_);
  path.marks.any_authenticated_packet_received();
  bool wake = path.marks.any_authenticated_packet_traversal(now);
  if (has_data) wake |= path.marks.data_received(now);
  const bool confirmed = !keypair.confirmed() && keypair.confirm();
  // It is the keypair to send with that has to be fresh, whichever this came on (the kernel's keep_key_fresh()).
  const protocol::Keypair* const current = path.keypairs.to_send_with();
  if (current != nullptr && current->wants_rekey_on_receive(now)) wake |= path.marks.want_lastminute_handshake(now);
  uint32_t attention = wake ? uint32_t{kMarks} : 0;
  if (roamed) attention |= kRoamed;
  if (confirmed) attention |= kKeypairConfirmed;
  if (attention != 0) ask_attention(mailbox_, path, attention);
}

void Inbound::deliver(const crypto::OpenMessage& message, io::Datagram& datagram, const PeerPath& path,
                      Allowed& allowed, const io::InnerOffloads& offloads) {
  uint8_t* const packet = message.destination;
  packet::IpHeader ip;
  if (packet::parse_ip({packet, message.length}, ip) != packet::IpError::none)
    return stats_.drop(DropReason::malformed_inner);
  const uint8_t* const source = packet + ip.source_at();
  const packet::AddressWords address = packet::address_words(source, ip.v6());
  if (ip.version != allowed.version || address != allowed.address) {
    const protocol::PeerHandle found = ip.v6() ? allowed_ips_->find_v6(source) : allowed_ips_->find_v4(source);
    if (found != allowed.owner) [[unlikely]] {
      if (!may_send_from(path, found)) return stats_.drop(DropReason::source_not_allowed);
      allowed.owner = found;
    }
    allowed.version = ip.version;
    allowed.address = address;
  }
  packet::decapsulate_ecn(envelope_of(datagram).traffic_class, ip, packet);
  coalescer_.add(packet, ip, offloads, &datagram.lease);
}

}  // namespace culvert::pipeline
