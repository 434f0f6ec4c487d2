#include "src/pipeline/outbound.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "src/packet/ecn.h"
#include "src/packet/flow_hash.h"
#include "src/pipeline/peer_group.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {
namespace {

io::Address address_at(const io::Superpacket& packet, const packet::IpHeader& ip, uint32_t offset) {
  io::Address address;
  address.family = ip.v6() ? io::Family::v6 : io::Family::v4;
  std::memcpy(address.bytes.data(), packet.bytes + offset, ip.v6() ? 16 : 4);
  return address;
}

// Whether a packet has the destination of datagrams to `endpoint`. Sets the port that it comes from.
bool looks_like_datagram_to(const io::Superpacket& packet, const packet::IpHeader& ip, const io::Endpoint& endpoint,
                            uint16_t& source_port) {
  if (ip.protocol != IPPROTO_UDP || ip.is_later_fragment()) return false;  // that has no ports
  const uint8_t* const ports = packet.bytes + ip.header_length;
  if (ip.total_length < ip.header_length + packet::kPortBytes) return false;
  source_port = packet::load_be16(ports);
  return packet::load_be16(ports + 2) == endpoint.port &&
         address_at(packet, ip, ip.destination_at()) == endpoint.remote;
}

// The keypair to send with now, if there is one.
protocol::Keypair* usable_keypair(const PeerPath& path, protocol::Instant now) {
  protocol::Keypair* const keypair = path.keypairs.to_send_with();
  return keypair != nullptr && keypair->usable_for_sending(now) ? keypair : nullptr;
}

}  // namespace

Outbound::Outbound(const Published& published, Mailbox& mailbox, WorkerStats& stats, io::LocalAddresses local_addresses)
    : published_(published), mailbox_(mailbox), stats_(stats), local_addresses_(std::move(local_addresses)) {
  routed_.resize(io::PlainBatch::kMaxPackets);
}

io::ReadOutcome Outbound::run(io::InnerSide& inner, io::OuterSide* outer, protocol::Instant now, size_t& read) {
  io::ReadOutcome outcome{};
  read = 0;
  do {
    outcome = inner.read(batch_);
    read += batch_.count;
    if (batch_.count == 0) continue;
    stats_.inner_packets_read.add(batch_.count);
    heed_waits(now);
    if (outer != nullptr)
      process(std::span(batch_.packets.data(), batch_.count), inner, *outer, now);
    else
      stats_.drop(DropReason::link_down, batch_.count);
    shortened_count_ = 0;
    inner.release(batch_);
  } while (batch_.more);
  return outcome;
}

void Outbound::flush_staged(PeerPath& path, io::InnerSide& inner, io::OuterSide* outer, protocol::Instant now) {
  if (outer == nullptr) return;
  const std::vector<StagedPacket> staged = staging_.take(path);
  std::array<io::Superpacket, io::PlainBatch::kMaxPackets> batch;
  for (size_t i = 0; i < staged.size();) {
    size_t count = 0;
    while (count < batch.size() && i < staged.size()) batch[count++] = staged[i++].packet;
    process(std::span(batch.data(), count), inner, *outer, now);
  }
}

void Outbound::process(std::span<io::Superpacket> packets, io::InnerSide& inner, io::OuterSide& outer,
                       protocol::Instant now) {
  mtu_ = published_.mtu.load(std::memory_order_relaxed);
  listen_port_ = published_.listen_port.load(std::memory_order_relaxed);
  local_ports_ = outer.local_ports();
  allowed_ips_ = published_.allowed_ips.load(std::memory_order_acquire);
  refill_unreachable_budget(now);

  endpoint_path_ = nullptr;
  flow_packet_ = nullptr;
  owner_version_ = 0;
  routed_count_ = 0;
  const PeerPath* ready = nullptr;  // whose keypair it is
  protocol::Keypair* keypair = nullptr;
  for (io::Superpacket& packet : packets) {
    packet::IpHeader ip;
    PeerPath* const path = route(packet, ip, inner, now);
    if (path == nullptr) continue;
    if (path != ready) {
      ready = nullptr;
      keypair = keypair_or_stage(*path, packet, now);
      if (keypair == nullptr) continue;
      // A keypair that has just come up: what waited for it goes first, however late the flush is.
      if (path->staged.load(std::memory_order_relaxed) != 0) plan_staged(*path, *keypair);
      ready = path;
    }
    plan_packet(packet, ip, *path, *keypair);
  }

  begin_sending();
  const std::span<const Routed> all = std::span(routed_).first(routed_count_);
  for (size_t first = 0; first < all.size();) {
    size_t last = first + 1;
    while (last < all.size() && all[last].keypair == all[first].keypair) ++last;
    emit_run(all.subspan(first, last - first), outer, now);
    first = last;
  }
  send_pending(outer);
  unstaged_.clear();
}

void Outbound::plan_packet(io::Superpacket& packet, const packet::IpHeader& ip, PeerPath& path,
                           protocol::Keypair& keypair) {
  if (routed_count_ == routed_.size()) routed_.resize(2 * routed_count_);
  Routed& routed = routed_[routed_count_];  // filled where it is, over an earlier one: a plan is long
  routed.packet = &packet;
  routed.path = &path;
  routed.keypair = &keypair;
  routed.local_port = local_port_of(packet, ip, path);
  routed.traffic_class = packet::encapsulate_ecn(ip);
  if (routed.plan.plan(packet, ip) != packet::SegmentError::none) return stats_.drop(DropReason::malformed_offload);
  routed.first = 0;
  if (shortened_count_ != 0 && is_shortened(packet)) [[unlikely]] {
    stats_.drop(DropReason::congestion);
    if (routed.plan.count() == 1) return;
    routed.first = 1;
  }
  ++routed_count_;
}

void Outbound::plan_staged(PeerPath& path, protocol::Keypair& keypair) {
  std::vector<StagedPacket> staged = staging_.take(path);
  if (staged.empty()) return;  // they are another worker's
  unstaged_.push_back(std::move(staged));
  for (StagedPacket& one : unstaged_.back()) {
    packet::IpHeader ip;
    // It was read before, else the packet would not wait here.
    if (packet::parse_ip({one.packet.bytes, one.packet.length}, ip) == packet::IpError::none)
      plan_packet(one.packet, ip, path, keypair);
  }
}

// Reads the IP header, and finds the peer of the packet. Null: the packet is dropped and counted.
PeerPath* Outbound::route(const io::Superpacket& packet, packet::IpHeader& ip, io::InnerSide& inner,
                          protocol::Instant now) {
  const auto drop = [&](DropReason reason) -> PeerPath* {
    stats_.drop(reason);
    if (reason == DropReason::no_peer || reason == DropReason::no_endpoint) answer_unreachable(packet, ip, inner);
    return nullptr;
  };
  switch (packet::parse_ip({packet.bytes, packet.length}, ip)) {
    case packet::IpError::not_ip:
      return drop(DropReason::not_ip);
    case packet::IpError::length_mismatch:
      return drop(DropReason::malformed_offload);
    case packet::IpError::none:
      break;
  }
  PeerPath* const path = find_path(packet, ip);
  if (path == nullptr) return drop(DropReason::no_peer);
  const io::Endpoint& endpoint = endpoint_of(*path);
  if (!endpoint.valid()) return drop(DropReason::no_endpoint);
  if (is_own_datagram(packet, ip, *path, now)) return drop(DropReason::routing_loop);
  return path;
}

// The peer that has the destination; of a group the member that has the flow. Null: nobody has it.
inline PeerPath* Outbound::find_path(const io::Superpacket& packet, const packet::IpHeader& ip) {
  const protocol::PeerHandle owner = owner_of(packet.bytes + ip.destination_at(), ip);
  if (owner == nullptr) return nullptr;
  if (!route_of(owner).is_group) [[likely]]
    return path_of(owner);
  return &static_cast<const PeerGroup&>(route_of(owner)).choose(flow_of(packet, ip), mailbox_.worker);
}

inline protocol::PeerHandle Outbound::owner_of(const uint8_t* destination, const packet::IpHeader& ip) {
  const packet::AddressWords address = packet::address_words(destination, ip.v6());
  if (ip.version != owner_version_ || address != owner_address_) {
    owner_version_ = ip.version;
    owner_address_ = address;
    owner_ = ip.v6() ? allowed_ips_->find_v6(destination) : allowed_ips_->find_v4(destination);
  }
  return owner_;
}

// Computed once for a superpacket, when it is first asked for.
uint64_t Outbound::flow_of(const io::Superpacket& packet, const packet::IpHeader& ip) {
  if (flow_packet_ != &packet) {
    flow_packet_ = &packet;
    flow_ = packet::flow_hash(packet.bytes, ip, published_.flow_key);
  }
  return flow_;
}

// The base port, or the one that the peer called last; for a peer whose flows are spread the one that the flow's hash
// chooses: the same for all of its life, on whichever worker, as long as the ports are the same.
inline uint16_t Outbound::local_port_of(const io::Superpacket& packet, const packet::IpHeader& ip,
                                        const PeerPath& path) {
  if (local_ports_.size() <= 1) [[likely]]
    return path.port_to_answer_from(listen_port_);
  const size_t ports = std::min<size_t>(local_ports_.size(), path.source_ports.load(std::memory_order_relaxed));
  return ports <= 1 ? path.port_to_answer_from(listen_port_) : local_ports_[packet::choose(flow_of(packet, ip), ports)];
}

bool Outbound::is_local_port(uint16_t port) const {
  return port == listen_port_ || std::find(local_ports_.begin(), local_ports_.end(), port) != local_ports_.end();
}

// Whether a packet is a datagram of ours on its way to the peer: the routes lead the tunnel into itself, and each
// turn would make it longer. Other hosts behind us may have a tunnel with the same ports and destination, so the source
// has to be ours too: the peer's sticky source, or any address of this host (a masquerading rule may have put another
// one there).
bool Outbound::is_own_datagram(const io::Superpacket& packet, const packet::IpHeader& ip, PeerPath& path,
                               protocol::Instant now) {
  const io::Endpoint& endpoint = endpoint_of(path);
  uint16_t source_port = 0;
  if (!looks_like_datagram_to(packet, ip, endpoint, source_port)) return false;
  if (!is_local_port(source_port) && source_port != path.port_to_answer_from(listen_port_)) return false;
  const io::Address source = address_at(packet, ip, ip.source_at());
  return source == endpoint.source || local_addresses_.contain(source, now.time_since_epoch());
}

// The endpoint is read once for a run of packets: a peer that roams in the middle of a batch is found by the next.
const io::Endpoint& Outbound::endpoint_of(PeerPath& path) {
  if (endpoint_path_ != &path) {
    endpoint_path_ = &path;
    endpoint_ = path.endpoint.load();
  }
  return endpoint_;
}

void Outbound::stage(std::span<const WaitingPacket> packets, protocol::Instant now) {
  for (const auto& [path, staged] : packets) {
    stats_.drop(DropReason::staging_full, staging_.stage(*path, staged.packet));
    // As in keypair_or_stage(): a keypair that came up meanwhile was told to the other worker.
    if (usable_keypair(*path, now) != nullptr) ask_attention(mailbox_, *path, kStagedLate);
  }
}

protocol::Keypair* Outbound::keypair_or_stage(PeerPath& path, const io::Superpacket& packet, protocol::Instant now) {
  if (protocol::Keypair* const keypair = usable_keypair(path, now)) return keypair;
  stats_.packets_staged.add(1);
  stats_.drop(DropReason::staging_full, staging_.stage(path, packet));
  if (path.marks.want_handshake(now)) ask_attention(mailbox_, path, kMarks);
  // If a keypair came up since the first look, the control thread may have looked for staged packets before
  // this one was there: it goes out with the next flush, which we ask for ourselves. If it had looked before,
  // stage() has acquired the keypair from there.
  if (usable_keypair(path, now) != nullptr) ask_attention(mailbox_, path, kStagedLate);
  return nullptr;
}

void Outbound::answer_unreachable(const io::Superpacket& packet, const packet::IpHeader& ip, io::InnerSide& inner) {
  if (unreachable_budget_ == 0) return;
  const size_t length = packet::make_unreachable(packet.bytes, ip, unreachable_);
  if (length == 0) return;
  --unreachable_budget_;
  const iovec part = {unreachable_.data(), length};
  io::GatheredPacket answer;
  answer.parts = {&part, 1};
  answer.length = static_cast<uint32_t>(length);
  if (inner.write({&answer, 1}) == 1)
    stats_.unreachable_sent.add(1);
  else
    stats_.drop(DropReason::inner_refused);
}

void Outbound::refill_unreachable_budget(protocol::Instant now) {
  constexpr protocol::Duration kPerAnswer = std::chrono::nanoseconds(1'000'000'000 / kUnreachablePerSecond);
  const int64_t earned = (now - unreachable_refilled_) / kPerAnswer;
  if (earned <= 0) return;
  unreachable_refilled_ = now;
  unreachable_budget_ = static_cast<uint32_t>(std::min<int64_t>(kUnreachableBurst, unreachable_budget_ + earned));
}

void Outbound::emit_run(std::span<const Routed> run, io::OuterSide& outer, protocol::Instant now) {
  PeerPath& path = *run[0].path;
  protocol::Keypair& keypair = *run[0].keypair;
  uint32_t messages = 0;
  for (const Routed& routed : run) messages += routed.plan.count() - routed.first;
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
    counter += routed.plan.count() - routed.first;
  }
  if (keypair.wants_rekey_after_send(now)) wake |= path.marks.want_handshake(now);
  if (wake) ask_attention(mailbox_, path, kMarks);
}

// Adds the segments of a packet to what leaves next, and sends that whenever it is full.
void Outbound::emit_segments(const Routed& routed, uint64_t counter, io::OuterSide& outer) {
  const uint32_t count = routed.plan.count();
  // All segments are of one length but the last, which is no longer.
  const size_t bytes = protocol::padded_length(routed.plan.length(0), mtu_) + protocol::kTransportOverhead;
  if (bytes > io::Outgoing::kMaxBytes) return stats_.drop(DropReason::send_failed, count - routed.first);
  for (uint32_t first = routed.first; first < count;) {
    const uint32_t left = count - first;
    const bool all_fit = sending_.count + left <= io::Sending::kMaxDatagrams &&
                         sending_bytes_ + left * bytes <= io::Sending::kMaxBytes &&
                         sending_.destination_count < io::Sending::kMaxDestinations;
    const uint32_t room = all_fit ? left : std::min(left, room_for(bytes));
    if (room == 0) {
      send_pending(outer);
      continue;
    }
    add_datagrams({&routed, first, room, counter + first - routed.first}, bytes);
    first += room;
  }
}

// How many datagrams of this length can be added, to any destination.
uint32_t Outbound::room_for(size_t bytes) const {
  if (sending_.destination_count == io::Sending::kMaxDestinations) return 0;
  const size_t datagrams = io::Sending::kMaxDatagrams - sending_.count, left = io::Sending::kMaxBytes - sending_bytes_;
  return static_cast<uint32_t>(datagrams * bytes <= left ? datagrams : left / bytes);
}

// There is room for them. `bytes` is the length of all but that of the packet's last segment, if that is one of them.
inline void Outbound::add_datagrams(const Cut& cut, size_t bytes) {
  cuts_[cut_count_++] = cut;
  const Routed& routed = *cut.routed;
  const uint16_t destination = destination_of(routed);
  uint8_t* const plain = routed.plan.is_whole() ? routed.packet->bytes : nullptr;
  io::Outgoing* out = &sending_.datagrams[sending_.count];
  sending_.count += cut.count;
  io::Outgoing* const end = out + cut.count;
  size_t all = cut.count * bytes;
  io::Lease* const lease = &routed.packet->lease;
  do {
    out->plain = plain;
    out->lease = lease;
    out->length = static_cast<uint32_t>(bytes);
    out->destination = destination;
  } while (++out != end);
  if (const uint32_t last = routed.plan.count() - 1; last != 0 && cut.first + cut.count > last) {
    const size_t last_bytes = protocol::padded_length(routed.plan.length(last), mtu_) + protocol::kTransportOverhead;
    out[-1].length = static_cast<uint32_t>(last_bytes);
    all -= bytes - last_bytes;
  }
  sending_bytes_ += all;
  recipients_[destination].bytes += all;
}

// The destination of the peer and port in what leaves next. When its traffic class changes it gets another one, and
// does not return to the first, so that its datagrams stay in order.
inline uint16_t Outbound::destination_of(const Routed& routed) {
  const bool is_last = recipients_[last_destination_].path == routed.path &&
                       sending_.destinations[last_destination_].envelope.local_port == routed.local_port &&
                       has_class(last_destination_, routed.traffic_class);
  return is_last ? last_destination_ : look_up_destination(routed);
}

uint16_t Outbound::look_up_destination(const Routed& routed) {
  // Ids count up, and ports do, so that neighbours fall into slots of their own.
  size_t slot = (routed.path->id + size_t{routed.local_port} * kLookupsBetweenPorts) % kLookups;
  const auto is_another = [&](const Lookup& one) {
    return one.sending == sending_number_ && (one.path != routed.path || one.local_port != routed.local_port);
  };
  while (is_another(lookups_[slot])) slot = (slot + 1) % kLookups;
  Lookup& found = lookups_[slot];
  if (found.sending != sending_number_ || !has_class(found.destination, routed.traffic_class))
    found = {routed.path, sending_number_, routed.local_port, add_destination(routed)};
  last_destination_ = found.destination;
  return found.destination;
}

uint16_t Outbound::add_destination(const Routed& routed) {
  PeerPath& path = *routed.path;
  const auto index = static_cast<uint16_t>(sending_.destination_count++);
  io::Destination& to = sending_.destinations[index];
  to.envelope.endpoint = endpoint_of(path);
  to.envelope.local_port = routed.local_port;
  to.envelope.traffic_class = routed.traffic_class;
  to.allow_segmentation = !path.gso_refused.load(std::memory_order_relaxed);
  recipients_[index] = {&path, 0};
  return index;
}

void Outbound::begin_sending() {
  sending_.clear();
  sending_bytes_ = 0;
  cut_count_ = 0;
  ++sending_number_;  // no lookup is of this one
  last_destination_ = 0;
  recipients_[0].path = nullptr;
}

void Outbound::send_pending(io::OuterSide& outer) {
  if (sending_.count == 0) return;
  outer.lend(sending_);
  io::Outgoing* out = sending_.datagrams.data();
  for (const Cut& cut : std::span(cuts_).first(cut_count_)) out = fill_and_seal(cut, out);
  seal_pending();
  outer.send(sending_);
  settle_sent();
  begin_sending();
}

// Writes the segments of a cut into the room that was lent for them. Returns where the next cut's datagrams begin.
io::Outgoing* Outbound::fill_and_seal(const Cut& cut, io::Outgoing* out) {
  const Routed& routed = *cut.routed;
  const protocol::Keypair& keypair = *routed.keypair;
  uint64_t counter = cut.counter;
  const uint32_t end = cut.first + cut.count;
  for (uint32_t i = cut.first; i < end; ++i, ++out, ++counter) {
    uint8_t* const bytes = out->bytes;
    if (bytes == nullptr) continue;
    const uint32_t length = routed.plan.length(i);
    const protocol::TransportHeader header = {static_cast<uint32_t>(protocol::MessageType::transport_data),
                                              keypair.remote_index(), counter};
    std::memcpy(bytes, &header, sizeof header);
    crypto::SealMessage& message = to_seal_[to_seal_count_++];
    message.key = keypair.sending_key();
    message.counter = counter;
    message.length = static_cast<uint32_t>(out->length - protocol::kTransportOverhead);
    message.destination = bytes + sizeof header;
    uint8_t* source = out->plain;
    if (source == nullptr) {
      source = message.destination;
      routed.plan.write(i, source);
    }
    message.source = source;
    // The padding, and what is left of 16 bytes: room for the tag follows.
    std::memset(source + length, 0, protocol::kPaddingMultiple);
    if (to_seal_count_ == kSealBatch) seal_pending();
  }
  return out;
}

void Outbound::seal_pending() {
  if (to_seal_count_ == 0) return;
  crypto::seal(std::span(to_seal_).first(to_seal_count_));
  stats_.messages_sealed.add(to_seal_count_);
  to_seal_count_ = 0;
}

// Counts what was sent and what was not, and remembers what the outer side learned of the peers' paths.
void Outbound::settle_sent() {
  if (sending_.lost != 0) {
    stats_.drop(DropReason::send_failed, sending_.lost);
    for (const io::Outgoing& out : std::span(sending_.datagrams).first(sending_.count))
      if (out.lost) recipients_[out.destination].bytes -= out.length;
  }
  for (uint32_t i = 0; i < sending_.destination_count; ++i) {
    const io::Destination& to = sending_.destinations[i];
    PeerPath& path = *recipients_[i].path;
    mailbox_.traffic.of(path.number).sent_bytes.add(recipients_[i].bytes);
    if (to.segmentation_refused) path.gso_refused.store(true, std::memory_order_relaxed);
    if (to.source_refused) path.endpoint.forget_source(to.envelope.endpoint.source);
  }
}

}  // namespace culvert::pipeline
