#include "dpdk/inner_port.h"

#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <cstring>

#include "dpdk/eal.h"
#include "src/packet/checksum.h"
#include "src/packet/ip_header.h"

namespace culvert::dpdk {
namespace {

// A device that cuts TCP gets superpackets of it. UDP is never joined: few devices cut it, and mlx5 is none of them.
io::InnerOffloads offloads_of(const Port& port) {
  io::InnerOffloads offloads;
  offloads.tcp4 = offloads.tcp6 = offloads.checksum = offloads.joining_pays = port.offloads().tcp_segmentation;
  offloads.max_parts = port.offloads().max_segments;
  return offloads;
}

// The sum of the pseudo header of a whole packet, as a checksum field that a device or we shall finish has it. A device
// that cuts adds the length of each segment by itself.
uint16_t pseudo_header_sum(const uint8_t* ip, bool v6, uint32_t transport_bytes, uint8_t protocol) {
  uint64_t sum = htons(protocol) + uint64_t{htons(static_cast<uint16_t>(transport_bytes))};
  sum += v6 ? packet::checksum_add(ip + packet::kIpv6Source, 32) : packet::checksum_add(ip + packet::kIpv4Source, 8);
  return packet::checksum_fold(sum);
}

// What a port says of a packet whose checksum its sender has not finished, or that is a superpacket. False when such a
// packet cannot be what it says. `guess`: where the port does not say, the checksum tells by itself; a finished one
// that happens to look unfinished comes out the same.
bool read_offload(const rte_mbuf& mbuf, bool guess, uint8_t* ip_bytes, const packet::IpHeader& ip,
                  io::Offload& offload) {
  const uint64_t checksum = mbuf.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  const bool is_super = (mbuf.ol_flags & RTE_MBUF_F_RX_LRO) != 0 && mbuf.tso_segsz != 0;
  const bool is_open = checksum == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  const bool may_be_open = guess && checksum == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN;
  if (!is_super && !is_open && !may_be_open) return true;
  if (ip.is_fragment()) return !is_super;
  uint8_t protocol = ip.protocol;
  uint32_t start = ip.header_length;
  while (ip.v6() && packet::is_extension_header(protocol))
    if (protocol == IPPROTO_FRAGMENT || !packet::skip_extension_header(ip_bytes, ip.total_length, protocol, start))
      return !is_super;
  const bool tcp = protocol == IPPROTO_TCP;
  if (!tcp && (protocol != IPPROTO_UDP || is_super)) return !is_super;
  const uint32_t transport_bytes = ip.total_length - start;
  if (transport_bytes < (tcp ? packet::kTcpHeaderBytes : packet::kUdpHeaderBytes)) return !is_super;
  uint8_t* const transport = ip_bytes + start;
  const uint32_t field = tcp ? packet::kTcpChecksum : packet::kUdpChecksum;
  const uint16_t begun = pseudo_header_sum(ip_bytes, ip.v6(), transport_bytes, protocol);
  if (!is_super && !is_open && packet::load<uint16_t>(transport + field) != begun) return true;
  offload.needs_checksum = true;
  offload.checksum_start = static_cast<uint16_t>(start);
  offload.checksum_offset = static_cast<uint16_t>(field);
  packet::store(transport + field, begun);
  if (!is_super) return true;
  offload.gso = io::GsoType::tcp;
  offload.gso_size = mbuf.tso_segsz;
  offload.header_length = static_cast<uint16_t>(start + (transport[packet::kTcpDataOffset] >> 4) * 4U);
  // One segment is no superpacket.
  if (ip.total_length <= offload.header_length + uint32_t{offload.gso_size}) offload.gso = io::GsoType::none;
  return true;
}

}  // namespace

InnerPort::InnerPort(const Port& port, uint16_t queue, const PublishedNextHops& next_hops, WantedHops* wanted)
    : port_(port),
      queue_(queue),
      pool_(port.pool(queue)),
      wanted_(wanted),
      offloads_(offloads_of(port)),
      next_hops_(next_hops),
      whole_(std::make_unique_for_overwrite<Whole[]>(io::PlainBatch::kMaxPackets)) {}

io::ReadOutcome InnerPort::read(io::PlainBatch& batch) {
  static_assert(kBurst <= io::PlainBatch::kMaxPackets);
  register_this_thread();
  batch.count = 0;
  if (port_.gone()) return io::ReadOutcome::gone;
  if (!waiting_.empty()) send_waiting(next_hops_.refresh());
  std::array<rte_mbuf*, kBurst> mbufs;
  const uint16_t count = rte_eth_rx_burst(port_.id(), queue_, mbufs.data(), kBurst);
  if (count == 0) return io::ReadOutcome::ok;
  const NextHops& hops = next_hops_.refresh();
  for (uint16_t i = 0; i < std::min(kFetchAhead, count); ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], uint8_t*));
  for (uint16_t i = 0; i < count; ++i) {
    if (i + kFetchAhead < count) {
      uint8_t* const next = rte_pktmbuf_mtod(mbufs[i + kFetchAhead], uint8_t*);
      rte_prefetch0(next);
      rte_prefetch0(next - RTE_CACHE_LINE_SIZE);  // where the outer headers will be
    }
    add_packet(mbufs[i], batch, hops);
  }
  going_home_.go();
  counters_.read_packets.add(batch.count);
  uint64_t bytes = 0;
  for (const io::Superpacket& packet : std::span(batch.packets).first(batch.count)) bytes += packet.length;
  counters_.read_bytes.add(bytes);
  return io::ReadOutcome::ok;
}

// Adds the packet in the mbuf to the batch, or lets it go.
inline void InnerPort::add_packet(rte_mbuf* mbuf, io::PlainBatch& batch, const NextHops& hops) {
  const auto drop = [&](io::Counter& counter) {
    counter.add(1);
    going_home_.add(mbuf);
  };
  uint8_t* const frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  LinkFrame link;
  if (read_link_header({frame, mbuf->data_len}, hops.link, link) != FrameVerdict::ours)
    return drop(port_counters_.foreign);
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD)
    return drop(port_counters_.malformed);
  io::Superpacket& packet = batch.packets[batch.count];
  packet.offload = {};
  packet.bytes = frame + link.packet_at;
  packet.length = mbuf->pkt_len - link.packet_at;
  if (packet.length > kMaxPacketBytes) return drop(counters_.read_refused);
  // In one piece, with the room behind it that padding and tag take.
  const bool is_whole = mbuf->nb_segs == 1 && rte_pktmbuf_tailroom(mbuf) >= io::kTailroom;
  if (is_whole)
    packet.lease = {mbuf, io::Memory::mbuf};
  else if (!make_whole(mbuf, link.packet_at, packet, batch.count))
    return drop(port_counters_.malformed);
  packet::IpHeader ip;
  const bool good = packet::parse_ip({packet.bytes, packet.length}, ip) == packet::IpError::none &&
                    ip.v6() == link.v6 &&
                    read_offload(*mbuf, port_.has_unfinished_checksums(), packet.bytes, ip, packet.offload);
  if (!good) return drop(counters_.read_refused);
  packet.length = ip.total_length;  // what the link has padded is no part of it
  if (!is_whole) going_home_.add(mbuf);
  ++batch.count;
}

// Copies a packet to memory of ours.
bool InnerPort::make_whole(rte_mbuf* mbuf, uint32_t packet_at, io::Superpacket& packet, size_t slot) {
  uint8_t* const whole = whole_[slot].data();
  const void* const read = rte_pktmbuf_read(mbuf, packet_at, packet.length, whole);
  if (read == nullptr) return false;
  if (read != whole) std::memcpy(whole, read, packet.length);
  packet.bytes = whole;
  packet.lease = {};
  port_counters_.copied.add(1);
  return true;
}

void InnerPort::release(io::PlainBatch& batch) {
  for (io::Superpacket& packet : std::span(batch.packets).first(batch.count)) going_home_.add(packet.lease);
  going_home_.go();
  batch.count = 0;
}

size_t InnerPort::write(std::span<const io::GatheredPacket> packets) {
  register_this_thread();
  const NextHops& hops = next_hops_.refresh();
  if (!waiting_.empty()) send_waiting(hops);  // before those that have come later
  destination_ = {};
  size_t written = 0;
  for (const io::GatheredPacket& packet : packets) {
    if (!add_frame(packet, hops)) counters_.write_dropped.add(1);
    if (frame_count_ == frames_.size()) written += send_frames();
  }
  written += send_frames();
  counters_.written_packets.add(written);
  return written;
}

// Sends those whose next hop is known by now, in order, and gives up those that have waited too long.
void InnerPort::send_waiting(const NextHops& hops) {
  WaitingFrames::Taken taken;
  waiting_.take(hops, *wanted_, taken);
  for (rte_mbuf* const mbuf : std::span(taken.expired).first(taken.expired_count)) going_home_.add(mbuf);
  going_home_.go();
  port_counters_.no_neighbour.add(taken.expired_count);
  counters_.write_dropped.add(taken.expired_count);
  static_assert(WaitingFrames::kMost <= kBurst);
  for (rte_mbuf* const mbuf : std::span(taken.ready).first(taken.ready_count)) {
    frames_[frame_count_++] = mbuf;
    frame_bytes_ += mbuf->pkt_len;
  }
  counters_.written_packets.add(send_frames());
}

// Makes a frame of the packet, to be sent next or when there is a MAC address for it. False: it is dropped.
bool InnerPort::add_frame(const io::GatheredPacket& packet, const NextHops& hops) {
  if (packet.parts.empty() || packet.parts[0].iov_len < packet::kIpv4HeaderBytes) return false;
  if (packet.offload.gso == io::GsoType::none && packet.length > std::min(port_.mtu(), hops.mtu)) {
    port_counters_.too_long.add(1);
    return false;
  }
  const MacAddress* const next_hop = next_hop_of(packet, hops);
  if (next_hop == nullptr && !may_wait_) {
    port_counters_.no_neighbour.add(1);
    return false;
  }
  rte_mbuf* const first = chain_of(packet);
  if (first == nullptr) {
    port_counters_.no_memory.add(1);
    return false;
  }
  if (first->nb_segs > port_.offloads().max_segments) {
    port_counters_.too_long.add(1);
    rte_pktmbuf_free(first);
    return false;
  }
  uint8_t* const ip = rte_pktmbuf_mtod(first, uint8_t*);
  const uint32_t link_bytes = hops.link.header_bytes();
  ask_offload(packet, link_bytes, first);
  (void)write_link_header(hops.link, next_hop != nullptr ? *next_hop : MacAddress(), *ip >> 4 == 6, ip);
  first->data_off = static_cast<uint16_t>(first->data_off - link_bytes);
  first->data_len = static_cast<uint16_t>(first->data_len + link_bytes);
  first->pkt_len = packet.length + link_bytes;
  if (next_hop == nullptr) {
    if (waiting_.add(first, destination_, asked_)) return true;
    port_counters_.no_neighbour.add(1);
    rte_pktmbuf_free(first);
    return false;
  }
  frames_[frame_count_++] = first;
  frame_bytes_ += first->pkt_len;
  return true;
}

const MacAddress* InnerPort::next_hop_of(const io::GatheredPacket& packet, const NextHops& hops) {
  const auto* const ip = static_cast<const uint8_t*>(packet.parts[0].iov_base);
  const bool v6 = *ip >> 4 == 6;
  if (v6 && packet.parts[0].iov_len < packet::kIpv6HeaderBytes) {
    may_wait_ = false;
    destination_ = {};
    return nullptr;
  }
  const io::Family family = v6 ? io::Family::v6 : io::Family::v4;
  const uint8_t* const destination = ip + (v6 ? packet::kIpv6Destination : packet::kIpv4Destination);
  const size_t bytes = v6 ? 16 : 4;
  // No call for v4: it is asked of each packet.
  if (destination_.family == family &&
      (v6 ? std::memcmp(destination_.bytes.data(), destination, 16) == 0
          : packet::load<uint32_t>(destination_.bytes.data()) == packet::load<uint32_t>(destination)))
    return next_hop_;
  destination_ = {};
  destination_.family = family;
  std::copy_n(destination, bytes, destination_.bytes.begin());
  next_hop_ = hops.find(destination_);
  may_wait_ = false;
  if (next_hop_ != nullptr || wanted_ == nullptr) return next_hop_;
  if (const std::optional<io::Address> hop = hops.hop_to(destination_)) {
    asked_ = wanted_->want(*hop);
    may_wait_ = true;
  }
  return nullptr;
}

// The packet as mbufs: those that its parts lie in, where we may take them, else copies. Null: there is no memory.
rte_mbuf* InnerPort::chain_of(const io::GatheredPacket& packet) {
  rte_mbuf* first = nullptr;
  rte_mbuf* last = nullptr;
  for (size_t i = 0; i < packet.parts.size(); ++i) {
    const iovec& part = packet.parts[i];
    if (rte_mbuf* const taken = take_part(packet, i)) {
      if (first == nullptr)
        first = taken;
      else
        last->next = taken, ++first->nb_segs;
      last = taken;
    } else if (!append_copy(static_cast<const uint8_t*>(part.iov_base), part.iov_len, first, last)) {
      if (first != nullptr) rte_pktmbuf_free(first);
      return nullptr;
    }
  }
  return first;
}

// The mbuf that a part lies in; null if that is not ours to take.
inline rte_mbuf* InnerPort::take_part(const io::GatheredPacket& packet, size_t i) {
  io::Lease* const lease = packet.leases != nullptr ? packet.leases[i] : nullptr;
  if (lease == nullptr || lease->memory != io::Memory::mbuf || lease->handle == nullptr) return nullptr;
  auto* const mbuf = static_cast<rte_mbuf*>(lease->handle);
  const auto* const bytes = static_cast<const uint8_t*>(packet.parts[i].iov_base);
  if (!is_unshared(mbuf) || bytes < room_of(mbuf) + kMaxLinkBytes) return nullptr;
  (void)lease->take(io::Memory::mbuf);
  set_frame(mbuf, bytes, static_cast<uint32_t>(packet.parts[i].iov_len));
  return mbuf;
}

// Copies bytes behind the chain, into as many fresh mbufs as it takes. False: there is no memory.
bool InnerPort::append_copy(const uint8_t* bytes, size_t length, rte_mbuf*& first, rte_mbuf*& last) {
  if (first == nullptr) port_counters_.copied.add(1);
  while (length > 0) {
    rte_mbuf* const fresh = rte_pktmbuf_alloc(pool_);
    if (fresh == nullptr) return false;
    const auto step = static_cast<uint16_t>(std::min<size_t>(length, rte_pktmbuf_tailroom(fresh)));
    std::memcpy(rte_pktmbuf_append(fresh, step), bytes, step);
    bytes += step;
    length -= step;
    if (first == nullptr)
      first = fresh;
    else
      last->next = fresh, ++first->nb_segs;
    last = fresh;
  }
  return true;
}

// Tells the device how to cut a superpacket. Nothing else has anything left to do.
void InnerPort::ask_offload(const io::GatheredPacket& packet, uint32_t link_bytes, rte_mbuf* first) const {
  if (packet.offload.gso != io::GsoType::tcp) return;
  uint8_t* const ip = rte_pktmbuf_mtod(first, uint8_t*);
  const bool v6 = *ip >> 4 == 6;
  const uint32_t ip_bytes = packet.offload.checksum_start;
  first->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  first->ol_flags |= v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
  first->l2_len = link_bytes & 0x7f;
  first->l3_len = ip_bytes & 0x1ff;
  first->l4_len = (packet.offload.header_length - ip_bytes) & 0xff;
  first->tso_segsz = packet.offload.gso_size;
  // DPDK wants the sums as the device starts from them: that of the IP header zero, that of TCP without a length.
  if (!v6) packet::store<uint16_t>(ip + packet::kIpv4Checksum, 0);
  packet::store(ip + ip_bytes + packet::kTcpChecksum, pseudo_header_sum(ip, v6, 0, IPPROTO_TCP));
}

// Returns how many of the frames were sent.
size_t InnerPort::send_frames() {
  if (frame_count_ == 0) return 0;
  uint16_t ready = static_cast<uint16_t>(frame_count_);
  // What a driver has to say against a frame, or to add to its headers, it says before.
  if (offloads_.tcp4) ready = rte_eth_tx_prepare(port_.id(), queue_, frames_.data(), ready);
  const uint16_t sent = send_burst(port_.id(), queue_, std::span(frames_).first(ready));
  for (size_t i = sent; i < frame_count_; ++i) {
    frame_bytes_ -= frames_[i]->pkt_len;
    going_home_.add(frames_[i]);
  }
  going_home_.go();
  counters_.write_full.add(ready - sent);
  counters_.write_dropped.add(frame_count_ - sent);
  counters_.written_bytes.add(frame_bytes_);
  frame_count_ = 0;
  frame_bytes_ = 0;
  return sent;
}

}  // namespace culvert::dpdk
