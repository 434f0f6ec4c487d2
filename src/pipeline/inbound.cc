#include "src/pipeline/inbound.h"

#include <algorithm>
#include <cstring>

#include "src/packet/ecn.h"
#include "src/pipeline/attention.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {
namespace {

// Messages opened and coalesced together. More would leave the cache before they are written.
constexpr size_t kOpenBatch = 256;
static_assert(kOpenBatch <= packet::Coalescer::kMaxPackets);

// The length that the IP header claims; 0 when there is no whole IP packet in `bytes`. What
// follows it is padding.
uint32_t ip_length(const uint8_t* packet, size_t bytes) {
  if (bytes < 20) return 0;
  size_t length = 0;
  if (packet[0] >> 4 == 4) {
    const size_t header = size_t{packet[0] & 0x0fU} * 4;
    length = size_t{packet[2]} << 8 | packet[3];
    if (header < 20 || length < header) return 0;
  } else if (packet[0] >> 4 == 6 && bytes >= 40) {
    length = 40 + (size_t{packet[4]} << 8 | packet[5]);
  }
  return length <= bytes ? static_cast<uint32_t>(length) : 0;
}

}  // namespace

Inbound::Inbound(const Published& published, Mailbox& mailbox, WorkerStats& stats)
    : published_(published), mailbox_(mailbox), stats_(stats) {
  to_open_.reserve(kOpenBatch);
  pending_.reserve(kOpenBatch);
}

size_t Inbound::run(io::InnerQueue& inner, io::OuterQueue& outer, protocol::Instant now) {
  const size_t received = outer.receive_batch(trains_);
  if (received == 0) return 0;
  allowed_ips_ = published_.allowed_ips.load(std::memory_order_acquire);
  index_table_ = published_.index_table.load(std::memory_order_acquire);
  mac1_key_ = published_.mac1_key.load(std::memory_order_acquire);
  for (size_t i = 0; i < received; ++i) classify(trains_[i], inner, now);
  finish_batch(inner, now);
  return received;
}

void Inbound::classify(const io::IncomingTrain& train, io::InnerQueue& inner, protocol::Instant now) {
  const size_t step = train.segment_size != 0 ? train.segment_size : train.length;
  for (size_t at = 0; at < train.length; at += step) {
    const std::span<uint8_t> datagram(train.bytes + at, std::min<size_t>(step, train.length - at));
    switch (protocol::classify(datagram)) {
      case protocol::MessageKind::transport_data:
        receive_transport_data(datagram, train, now);
        if (to_open_.size() == kOpenBatch) finish_batch(inner, now);
        break;
      case protocol::MessageKind::handshake_initiation:
      case protocol::MessageKind::handshake_response:
        receive_handshake(datagram, train, true);
        break;
      case protocol::MessageKind::cookie_reply:
        receive_handshake(datagram, train, false);
        break;
      case protocol::MessageKind::unknown_type:
      case protocol::MessageKind::dishonest_length:
        stats_.drop(DropReason::malformed_datagram);
        break;
    }
  }
  if (train.length == 0) stats_.drop(DropReason::malformed_datagram);
}

void Inbound::receive_transport_data(std::span<uint8_t> datagram, const io::IncomingTrain& train,
                                     protocol::Instant now) {
  const auto header = protocol::read_message<protocol::TransportHeader>(datagram);
  protocol::Keypair* const keypair = index_table_->find(header.receiver_index);
  if (keypair == nullptr) {
    stats_.drop(DropReason::unknown_index);
    return;
  }
  if (!keypair->usable_for_receiving(now)) {
    stats_.drop(DropReason::keypair_expired);
    return;
  }
  uint8_t* const ciphertext = datagram.data() + sizeof header;
  to_open_.push_back({keypair->receiving_key(), header.counter, ciphertext, ciphertext,
                      static_cast<uint32_t>(datagram.size() - protocol::kTransportOverhead), false});
  pending_.push_back({keypair, &train});
}

void Inbound::receive_handshake(std::span<const uint8_t> datagram, const io::IncomingTrain& train, bool has_mac1) {
  if (mac1_key_ == nullptr || (has_mac1 && !mac1_key_->verify(datagram))) {
    stats_.drop(DropReason::invalid_mac1);
    return;
  }
  HandshakeDatagram handshake;
  handshake.from = train.from;
  handshake.length = static_cast<uint16_t>(datagram.size());
  std::memcpy(handshake.bytes.data(), datagram.data(), datagram.size());
  if (mailbox_.handshakes.try_push(handshake))
    mailbox_.control_wakeup.notify();
  else
    stats_.drop(DropReason::handshake_queue_full);
}

void Inbound::finish_batch(io::InnerQueue& inner, protocol::Instant now) {
  if (to_open_.empty()) return;
  stats_.messages_opened.add(crypto::open(to_open_));
  const io::InnerOffloads offloads = inner.offloads();
  for (size_t first = 0; first < pending_.size();) {
    size_t last = first + 1;
    while (last < pending_.size() && pending_[last].keypair == pending_[first].keypair) ++last;
    admit_run(first, last, offloads, now);
    first = last;
  }
  const std::span<const io::GatheredPacket> packets = coalescer_.finish();
  if (!packets.empty()) {
    const size_t written = inner.write_batch(packets);
    stats_.inner_packets_written.add(written);
    if (written < packets.size()) stats_.drop(DropReason::inner_refused, packets.size() - written);
  }
  coalescer_.clear();
  to_open_.clear();
  pending_.clear();
}

void Inbound::admit_run(size_t first, size_t last, const io::InnerOffloads& offloads, protocol::Instant now) {
  protocol::Keypair& keypair = *pending_[first].keypair;
  auto& path = *static_cast<PeerPath*>(keypair.owner());

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
  const io::IncomingTrain* newest = nullptr;
  bool has_data = false;
  for (size_t i = first; i < last; ++i) {
    const crypto::OpenMessage& message = to_open_[i];
    if (!message.authentic) continue;
    newest = pending_[i].train;
    bytes += message.length + protocol::kTransportOverhead;
    if (message.length == 0) {
      stats_.keepalives_received.add(1);
    } else {
      has_data = true;
      deliver(message, path, newest->traffic_class, offloads);
    }
  }
  if (newest == nullptr) return;

  path.rx_bytes.fetch_add(bytes, std::memory_order_relaxed);
  path.roam(newest->from);
  path.marks.any_authenticated_packet_received();
  bool wake = path.marks.any_authenticated_packet_traversal(now);
  if (has_data) wake |= path.marks.data_received(now);
  if (keypair.wants_rekey_on_receive(now)) wake |= path.marks.want_lastminute_handshake(now);
  uint32_t attention = wake ? uint32_t{kMarks} : 0;
  if (!keypair.confirmed() && keypair.confirm()) attention |= kKeypairConfirmed;
  if (attention != 0) ask_attention(mailbox_, path, attention);
}

void Inbound::deliver(const crypto::OpenMessage& message, const PeerPath& path, uint8_t outer_traffic_class,
                      const io::InnerOffloads& offloads) {
  uint8_t* const packet = message.destination;
  const uint32_t length = ip_length(packet, message.length);
  if (length == 0) {
    stats_.drop(DropReason::malformed_inner);
    return;
  }
  const protocol::PeerHandle owner =
      packet[0] >> 4 == 4 ? allowed_ips_->find_v4(packet + 12) : allowed_ips_->find_v6(packet + 8);
  if (owner != &path) {
    stats_.drop(DropReason::source_not_allowed);
    return;
  }
  packet::decapsulate_ecn(outer_traffic_class, packet);
  coalescer_.add(packet, length, offloads);
}

}  // namespace culvert::pipeline
