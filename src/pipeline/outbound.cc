#include "src/pipeline/outbound.h"

#include <arpa/inet.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "src/packet/ecn.h"
#include "src/pipeline/attention.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {
namespace {

// Sealing this many messages at once is as fast as it gets, while they are still in the cache.
constexpr size_t kSealBatch = 64;

constexpr uint8_t kUdp = 17;

uint16_t read16(const uint8_t* at) {
  return static_cast<uint16_t>(at[0] << 8 | at[1]);
}

// Whether a packet is a datagram of ours on its way to `endpoint`: the routes lead the tunnel into itself,
// and each turn would make it longer.
bool is_own_datagram(const io::Superpacket& packet, const io::Endpoint& endpoint, uint16_t listen_port) {
  const uint8_t* const bytes = packet.bytes;
  const bool v4 = bytes[0] >> 4 == 4;
  const size_t header = v4 ? size_t{bytes[0] & 0x0fU} * 4 : 40;
  if (packet.length < header + 4 || bytes[v4 ? 9 : 6] != kUdp) return false;
  const io::Family family = v4 ? io::Family::v4 : io::Family::v6;
  if (endpoint.remote.family != family) return false;
  if (std::memcmp(bytes + (v4 ? 16 : 24), endpoint.remote.bytes.data(), v4 ? 4 : 16) != 0) return false;
  if (v4 && ((bytes[6] & 0x1f) | bytes[7]) != 0) return false;  // a later fragment has no ports
  return read16(bytes + header) == listen_port && read16(bytes + header + 2) == endpoint.port;
}

}  // namespace

Outbound::Outbound(const Published& published, Mailbox& mailbox, WorkerStats& stats)
    : published_(published), mailbox_(mailbox), stats_(stats) {
  routed_.reserve(kBatchPackets);
  to_seal_.reserve(kSealBatch);
}

io::ReadOutcome Outbound::run(io::InnerQueue& inner, io::OuterQueue* outer, protocol::Instant now, size_t& read) {
  read = 0;
  const io::ReadOutcome outcome = inner.read_batch(batch_, read);
  if (read == 0) return outcome;
  stats_.inner_packets_read.add(read);
  if (outer != nullptr) process(std::span(batch_.data(), read), inner, *outer, now);
  return outcome;
}

void Outbound::flush_staged(PeerPath& path, io::InnerQueue& inner, io::OuterQueue* outer, protocol::Instant now) {
  if (outer == nullptr) return;
  const std::vector<StagedPacket> staged = staging_.take(path);
  std::array<io::Superpacket, kBatchPackets> batch;
  for (size_t i = 0; i < staged.size();) {
    size_t count = 0;
    while (count < batch.size() && i < staged.size()) batch[count++] = staged[i++].packet;
    process(std::span(batch.data(), count), inner, *outer, now);
  }
}

void Outbound::process(std::span<const io::Superpacket> packets, io::InnerQueue& inner, io::OuterQueue& outer,
                       protocol::Instant now) {
  mtu_ = published_.mtu.load(std::memory_order_relaxed);
  listen_port_ = published_.listen_port.load(std::memory_order_relaxed);
  allowed_ips_ = published_.allowed_ips.load(std::memory_order_acquire);
  refill_unreachable_budget(now);

  endpoint_path_ = nullptr;
  routed_.clear();
  for (const io::Superpacket& packet : packets) {
    PeerPath* const path = route(packet, inner);
    if (path == nullptr) continue;
    protocol::Keypair* const keypair = keypair_or_stage(*path, packet, now);
    if (keypair == nullptr) continue;
    // A keypair that has just come up: what waited for it goes first, however late the flush is.
    if (path->staged.load(std::memory_order_relaxed) != 0) plan_staged(*path, *keypair);
    plan_packet(packet, *path, *keypair);
  }

  const std::span<const Routed> all(routed_);
  for (size_t first = 0; first < all.size();) {
    size_t last = first + 1;
    while (last < all.size() && all[last].keypair == all[first].keypair) ++last;
    emit_run(all.subspan(first, last - first), outer, now);
    first = last;
  }
  seal_pending();
  send_trains(outer);
  unstaged_.clear();
}

void Outbound::plan_packet(const io::Superpacket& packet, PeerPath& path, protocol::Keypair& keypair) {
  Routed& routed = routed_.emplace_back();  // filled where it is: a plan is long
  routed.packet = &packet;
  routed.path = &path;
  routed.keypair = &keypair;
  if (routed.plan.plan(packet) == packet::SegmentError::none) return;
  stats_.drop(DropReason::malformed_offload);
  routed_.pop_back();
}

void Outbound::plan_staged(PeerPath& path, protocol::Keypair& keypair) {
  std::vector<StagedPacket> staged = staging_.take(path);
  if (staged.empty()) return;  // they are another worker's
  unstaged_.push_back(std::move(staged));
  for (const StagedPacket& one : unstaged_.back()) plan_packet(one.packet, path, keypair);
}

PeerPath* Outbound::route(const io::Superpacket& packet, io::InnerQueue& inner) {
  const unsigned version = packet.length == 0 ? 0 : packet.bytes[0] >> 4;
  protocol::PeerHandle peer = nullptr;
  if (version == 4 && packet.length >= 20) {
    peer = allowed_ips_->find_v4(packet.bytes + 16);
  } else if (version == 6 && packet.length >= 40) {
    peer = allowed_ips_->find_v6(packet.bytes + 24);
  } else {
    stats_.drop(DropReason::not_ip);
    return nullptr;
  }
  if (peer == nullptr) {
    stats_.drop(DropReason::no_peer);
    answer_unreachable(packet, inner);
    return nullptr;
  }
  auto* const path = static_cast<PeerPath*>(peer);
  const io::Endpoint& endpoint = endpoint_of(*path);
  if (!endpoint.valid()) {
    stats_.drop(DropReason::no_endpoint);
    answer_unreachable(packet, inner);
    return nullptr;
  }
  if (is_own_datagram(packet, endpoint, listen_port_)) {
    stats_.drop(DropReason::routing_loop);
    return nullptr;
  }
  return path;
}

// The endpoint is read once for a run of packets: a peer that roams in the middle of a batch is found by the next.
const io::Endpoint& Outbound::endpoint_of(PeerPath& path) {
  if (endpoint_path_ != &path) {
    endpoint_path_ = &path;
    endpoint_ = path.endpoint.load();
  }
  return endpoint_;
}

protocol::Keypair* Outbound::keypair_or_stage(PeerPath& path, const io::Superpacket& packet, protocol::Instant now) {
  const auto usable = [&]() -> protocol::Keypair* {
    protocol::Keypair* const keypair = path.keypairs.to_send_with();
    return keypair != nullptr && keypair->usable_for_sending(now) ? keypair : nullptr;
  };
  if (protocol::Keypair* const keypair = usable()) return keypair;
  stats_.packets_staged.add(1);
  stats_.drop(DropReason::staging_full, staging_.stage(path, packet));
  if (path.marks.want_handshake(now)) ask_attention(mailbox_, path, kMarks);
  // If a keypair came up since the first look, the control thread may have looked for staged packets before
  // this one was there: it goes out with the next flush, which we ask for ourselves. If it had looked before,
  // stage() has acquired the keypair from there.
  if (usable() != nullptr) ask_attention(mailbox_, path, kStagedLate);
  return nullptr;
}

void Outbound::answer_unreachable(const io::Superpacket& packet, io::InnerQueue& inner) {
  if (unreachable_budget_ == 0) return;
  const size_t length = packet::make_unreachable({packet.bytes, packet.length}, unreachable_);
  if (length == 0) return;
  --unreachable_budget_;
  const iovec part = {unreachable_.data(), length};
  io::GatheredPacket answer;
  answer.parts = {&part, 1};
  answer.length = static_cast<uint32_t>(length);
  if (inner.write_batch({&answer, 1}) == 1) stats_.unreachable_sent.add(1);
}

void Outbound::refill_unreachable_budget(protocol::Instant now) {
  constexpr protocol::Duration kPerAnswer = std::chrono::nanoseconds(1'000'000'000 / kUnreachablePerSecond);
  const int64_t earned = (now - unreachable_refilled_) / kPerAnswer;
  if (earned <= 0) return;
  unreachable_refilled_ = now;
  unreachable_budget_ = static_cast<uint32_t>(std::min<int64_t>(kUnreachableBurst, unreachable_budget_ + earned));
}

void Outbound::emit_run(std::span<const Routed> run, io::OuterQueue& outer, protocol::Instant now) {
  PeerPath& path = *run[0].path;
  protocol::Keypair& keypair = *run[0].keypair;
  uint32_t messages = 0;
  for (const Routed& routed : run) messages += routed.plan.count();
  uint64_t counter = 0;
  if (!keypair.reserve(messages, counter)) {
    stats_.drop(DropReason::counters_exhausted, messages);
    if (path.marks.want_handshake(now)) ask_attention(mailbox_, path, kMarks);
    return;
  }
  path.marks.any_authenticated_packet_sent();
  bool wake = path.marks.any_authenticated_packet_traversal(now);
  wake |= path.marks.data_sent(now);
  for (const Routed& routed : run) {
    emit_segments(routed, counter, outer);
    counter += routed.plan.count();
  }
  if (keypair.wants_rekey_after_send(now)) wake |= path.marks.want_handshake(now);
  if (wake) ask_attention(mailbox_, path, kMarks);
}

void Outbound::emit_segments(const Routed& routed, uint64_t counter, io::OuterQueue& outer) {
  const io::Endpoint& to = endpoint_of(*routed.path);
  const uint8_t outer_class = packet::encapsulate_ecn(routed.packet->bytes);
  for (uint32_t i = 0; i < routed.plan.count(); ++i, ++counter) {
    const size_t length = routed.plan.length(i);
    const size_t padded = protocol::padded_length(length, mtu_);
    const size_t datagram = padded + protocol::kTransportOverhead;
    if (datagram > TrainBuilder::kMaxDatagramBytes) {
      stats_.drop(DropReason::send_failed);
      continue;
    }
    uint8_t* room = trains_.append(*routed.path, to, outer_class, datagram);
    if (room == nullptr) {
      seal_pending();
      send_trains(outer);
      room = trains_.append(*routed.path, to, outer_class, datagram);
    }
    const protocol::TransportHeader header = {static_cast<uint32_t>(protocol::MessageType::transport_data),
                                              routed.keypair->remote_index(), counter};
    std::memcpy(room, &header, sizeof header);
    uint8_t* const inner_packet = room + sizeof header;
    routed.plan.write(i, inner_packet);
    std::memset(inner_packet + length, 0, padded - length);
    to_seal_.push_back(
        {routed.keypair->sending_key(), counter, inner_packet, inner_packet, static_cast<uint32_t>(padded)});
    if (to_seal_.size() == kSealBatch) seal_pending();
  }
}

void Outbound::seal_pending() {
  if (to_seal_.empty()) return;
  crypto::seal(to_seal_);
  stats_.messages_sealed.add(to_seal_.size());
  to_seal_.clear();
}

void Outbound::send_trains(io::OuterQueue& outer) {
  if (trains_.empty()) return;
  const std::span<io::OutgoingTrain> trains = trains_.trains();
  outer.send_batch(trains);
  for (size_t i = 0; i < trains.size(); ++i) {
    const io::OutgoingTrain& train = trains[i];
    PeerPath& path = trains_.path_of(i);
    uint64_t sent_bytes = train.length;
    if (train.datagrams_sent < train.datagrams) {
      stats_.drop(DropReason::send_failed, train.datagrams - train.datagrams_sent);
      sent_bytes = uint64_t{train.datagrams_sent} * train.segment_size;
    }
    path.tx_bytes.fetch_add(sent_bytes, std::memory_order_relaxed);
    if (train.gso_refused) path.gso_refused.store(true, std::memory_order_relaxed);
    if (train.source_refused) path.endpoint.forget_source(train.to.source);
  }
  trains_.clear();
}

}  // namespace culvert::pipeline
