#include "dpdk/outer_port.h"

#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <cstring>

#include "dpdk/eal.h"

namespace culvert::dpdk {
namespace {

using packet::load;
using packet::load_be16;

// Pools are asked for so many at a time: what an empty one cannot give is no more than that.
constexpr size_t kAllocation = 64;

// Where the text of a datagram in a fresh mbuf begins: on a cache line, behind all headers.
constexpr size_t kTextAt = RTE_PKTMBUF_HEADROOM;
static_assert(kTextAt >= kMaxFrameHeaderBytes + io::Outgoing::kPlainOffset && kTextAt % RTE_CACHE_LINE_SIZE == 0);

}  // namespace

OuterPort::OuterPort(const Port& port, uint16_t queue, const PublishedNextHops& next_hops,
                     const OuterPortOptions& options)
    : port_(port),
      queue_(queue),
      pool_(port.pool(queue)),
      room_(rte_pktmbuf_data_room_size(pool_)),
      checksum_v4_(port.offloads().udp_checksum ? UdpChecksum::device
                   : options.checksum_v4        ? UdpChecksum::software
                                                : UdpChecksum::none),
      checksum_v6_(port.offloads().udp_checksum ? UdpChecksum::device : UdpChecksum::software),
      wanted_(options.wanted),
      ports_(options.local_ports),
      next_hops_(next_hops),
      port_counters_(options.counters != nullptr ? *options.counters : own_counters_) {
  for (const uint16_t local_port : ports_) is_ours_.set(local_port);
}

void OuterPort::receive(io::Received& batch) {
  register_this_thread();
  batch.count = batch.envelope_count = 0;
  batch.more = false;
  if (port_.gone()) {
    if (wanted_ != nullptr) wanted_->tell_gone();
    return;
  }
  if (!waiting_.empty()) send_waiting(next_hops_.refresh());
  std::array<rte_mbuf*, kBurst> mbufs;
  const uint16_t count = rte_eth_rx_burst(port_.id(), queue_, mbufs.data(), kBurst);
  if (count == 0) return;
  const NextHops& hops = next_hops_.refresh();
  run_ = {};
  for (uint16_t i = 0; i < std::min(kFetchAhead, count); ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], uint8_t*));
  for (uint16_t i = 0; i < count; ++i) {
    if (i + kFetchAhead < count) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + kFetchAhead], uint8_t*));
    add_datagram(mbufs[i], batch, hops);
  }
  going_home_.go();
  if (batch.count == 0) return;
  counters_.trains_received.add(1);
  counters_.datagrams_received.add(batch.count);
}

// Adds what is in the mbuf to the batch, or lets it go.
inline void OuterPort::add_datagram(rte_mbuf* mbuf, io::Received& batch, const NextHops& hops) {
  const auto drop = [&](io::Counter& counter) {
    counter.add(1);
    going_home_.add(mbuf);
  };
  if (mbuf->nb_segs != 1 && rte_pktmbuf_linearize(mbuf) != 0) return drop(counters_.truncated);
  const uint64_t ip_flags = mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  const uint64_t udp_flags = mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  if (ip_flags == RTE_MBUF_F_RX_IP_CKSUM_BAD || udp_flags == RTE_MBUF_F_RX_L4_CKSUM_BAD)
    return drop(port_counters_.malformed);
  uint8_t* const frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
  DatagramFrame read;
  switch (read_datagram({frame, mbuf->data_len}, hops.link, ip_flags == RTE_MBUF_F_RX_IP_CKSUM_GOOD, read)) {
    case FrameVerdict::foreign:
      return drop(port_counters_.foreign);
    case FrameVerdict::malformed:
      return drop(port_counters_.malformed);
    case FrameVerdict::fragment:
      return drop(port_counters_.fragments);
    case FrameVerdict::ours:
      break;
  }
  uint8_t* const payload = frame + read.udp_at + packet::kUdpHeaderBytes;
  const uint8_t* const addresses = frame + read.ip_at + (read.v6 ? packet::kIpv6Source : packet::kIpv4Source);
  const uint32_t ports = load<uint32_t>(frame + read.udp_at);
  const bool same_run = run_.addresses != nullptr && run_.ports == ports && run_.v6 == read.v6 &&
                        run_.traffic_class == read.traffic_class &&
                        (read.v6 ? std::memcmp(run_.addresses, addresses, 32) == 0
                                 : load<uint64_t>(run_.addresses) == load<uint64_t>(addresses));
  if (!same_run) {
    if (!begin_envelope(frame, read, batch, hops)) return drop(port_counters_.foreign);
    run_ = {addresses, ports, read.traffic_class, read.v6};
  }
  if (read.payload_bytes == 0) return drop(counters_.empty);
  io::Datagram& datagram = batch.datagrams[batch.count++];
  datagram.lease = {mbuf, io::Memory::mbuf};
  datagram.bytes = payload;
  datagram.length = read.payload_bytes;
  datagram.envelope = static_cast<uint16_t>(batch.envelope_count - 1);
}

// False when the datagram is for a port or an address that is not ours.
bool OuterPort::begin_envelope(const uint8_t* frame, const DatagramFrame& read, io::Received& batch,
                               const NextHops& hops) {
  const uint16_t local_port = load_be16(frame + read.udp_at + 2);
  if (!is_ours_.test(local_port)) return false;
  const uint8_t* const addresses = frame + read.ip_at + (read.v6 ? packet::kIpv6Source : packet::kIpv4Source);
  const size_t address_bytes = read.v6 ? 16 : 4;
  io::Envelope envelope;
  io::Endpoint& from = envelope.endpoint;
  from.remote.family = from.source.family = read.v6 ? io::Family::v6 : io::Family::v4;
  std::copy_n(addresses, address_bytes, from.remote.bytes.begin());
  std::copy_n(addresses + address_bytes, address_bytes, from.source.bytes.begin());
  if (!hops.is_own(from.source)) return false;
  if (is_link_local(from.remote)) from.scope_id = port_.kernel_interface();
  from.port = load_be16(frame + read.udp_at);
  envelope.local_port = local_port;
  envelope.traffic_class = read.traffic_class;
  batch.envelopes[batch.envelope_count++] = envelope;
  return true;
}

void OuterPort::release(io::Received& batch) {
  for (io::Datagram& datagram : std::span(batch.datagrams).first(batch.count)) going_home_.add(datagram.lease);
  going_home_.go();
  batch.count = 0;
}

void OuterPort::prepare_destinations(io::Sending& batch, const NextHops& hops) {
  for (uint32_t i = 0; i < batch.destination_count; ++i) {
    io::Destination& to = batch.destinations[i];
    to.segmentation_refused = to.source_refused = false;
    const io::Endpoint& endpoint = to.envelope.endpoint;
    const io::Address* source = &endpoint.source;
    if (source->family != endpoint.remote.family || !hops.is_own(*source)) {
      to.source_refused = source->family != io::Family::none;
      source = hops.source_for(endpoint.remote);
    }
    const MacAddress* const next_hop = hops.find(endpoint.remote);
    asked_[i] = false;
    waits_[i] = next_hop == nullptr && ask_for_hop_to(endpoint.remote, hops, asked_[i]);
    reachable_[i] = false;
    if (source == nullptr || port_.gone() || (next_hop == nullptr && !waits_[i])) continue;
    reachable_[i] = true;
    headers_[i].prepare(hops.link, next_hop != nullptr ? *next_hop : MacAddress(), endpoint, *source,
                        to.envelope.local_port, to.envelope.traffic_class);
  }
}

// Whether somebody can ask for the MAC address of the next hop to there. `asked`: does so already.
bool OuterPort::ask_for_hop_to(const io::Address& remote, const NextHops& hops, bool& asked) {
  if (wanted_ == nullptr) return false;
  const std::optional<io::Address> hop = hops.hop_to(remote);
  if (hop) asked = wanted_->want(*hop);
  return hop.has_value();
}

// Sends those whose next hop is known by now, in order, and gives up those that have waited too long.
void OuterPort::send_waiting(const NextHops& hops) {
  WaitingFrames::Taken taken;
  waiting_.take(hops, *wanted_, taken);
  const std::span ready = std::span(taken.ready).first(taken.ready_count);
  const uint16_t sent = !ready.empty() ? send_burst(port_.id(), queue_, ready) : uint16_t{0};
  for (rte_mbuf* const mbuf : ready.subspan(sent)) going_home_.add(mbuf);
  for (rte_mbuf* const mbuf : std::span(taken.expired).first(taken.expired_count)) going_home_.add(mbuf);
  going_home_.go();
  port_counters_.no_neighbour.add(taken.expired_count);
  counters_.datagrams_sent.add(sent);
  counters_.send_errors.add(ready.size() - sent + taken.expired_count);
}

void OuterPort::lend(io::Sending& batch) {
  register_this_thread();
  const NextHops& hops = next_hops_.refresh();
  if (!waiting_.empty()) send_waiting(hops);  // before those that have come later
  prepare_destinations(batch, hops);
  const uint32_t mtu = std::min(port_.mtu(), hops.mtu);
  size_t wanting = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    io::Outgoing& out = batch.datagrams[i];
    out.bytes = nullptr;
    mbufs_[i] = nullptr;
    if (!reachable_[out.destination]) {
      port_counters_.no_neighbour.add(1);
      continue;
    }
    const DatagramHeaders& headers = headers_[out.destination];
    if (out.length + headers.bytes() - headers.link_bytes() > mtu ||
        out.length + kTextAt - io::Outgoing::kPlainOffset > room_) {
      port_counters_.too_long.add(1);
      continue;
    }
    if (take_over(out, headers, mbufs_[i])) continue;
    wanting_[wanting++] = static_cast<uint16_t>(i);
  }
  if (wanting != 0) lend_fresh(batch, wanting);
}

// Seals the datagram where its packet lies, if the mbuf is ours alone and has the room for what comes around it.
inline bool OuterPort::take_over(io::Outgoing& out, const DatagramHeaders& headers, rte_mbuf*& mbuf) {
  if (out.plain == nullptr || out.lease == nullptr || out.lease->memory != io::Memory::mbuf ||
      out.lease->handle == nullptr)
    return false;
  auto* const held = static_cast<rte_mbuf*>(out.lease->handle);
  uint8_t* const start = out.plain - io::Outgoing::kPlainOffset;
  uint8_t* const room = room_of(held);
  if (!is_unshared(held) || start < room + headers.bytes() || start + out.length > room + held->buf_len) return false;
  mbuf = static_cast<rte_mbuf*>(out.lease->take(io::Memory::mbuf));
  out.bytes = start;
  port_counters_.taken_over.add(1);
  return true;
}

void OuterPort::lend_fresh(io::Sending& batch, size_t wanted) {
  for (size_t first = 0; first < wanted; first += kAllocation) {
    const auto count = static_cast<unsigned>(std::min(kAllocation, wanted - first));
    std::array<rte_mbuf*, kAllocation> fresh;
    if (rte_pktmbuf_alloc_bulk(pool_, fresh.data(), count) != 0) {
      port_counters_.no_memory.add(count);
      continue;
    }
    for (unsigned k = 0; k < count; ++k) {
      const uint16_t i = wanting_[first + k];
      mbufs_[i] = fresh[k];
      batch.datagrams[i].bytes = room_of(fresh[k]) + kTextAt - io::Outgoing::kPlainOffset;
    }
  }
}

inline UdpChecksum OuterPort::checksum_for(const DatagramHeaders& headers) const {
  return headers.v6() ? checksum_v6_ : checksum_v4_;
}

// Returns how many frames there are.
size_t OuterPort::write_frames(io::Sending& batch) {
  size_t frames = 0;
  left_waiting_ = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    rte_mbuf* const mbuf = mbufs_[i];
    if (mbuf == nullptr) continue;
    const io::Outgoing& out = batch.datagrams[i];
    const DatagramHeaders& headers = headers_[out.destination];
    const UdpChecksum checksum = checksum_for(headers);
    set_frame(mbuf, headers.write(out.bytes, out.length, checksum), headers.bytes() + out.length);
    if (checksum == UdpChecksum::device) {
      mbuf->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | (headers.v6() ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
      mbuf->l2_len = headers.link_bytes() & 0x7f;
      mbuf->l3_len = (headers.bytes() - headers.link_bytes() - packet::kUdpHeaderBytes) & 0x1ff;
    }
    if (waits_[out.destination]) {
      if (waiting_.add(mbuf, batch.destinations[out.destination].envelope.endpoint.remote, asked_[out.destination])) {
        ++left_waiting_;
      } else {
        port_counters_.no_neighbour.add(1);
        going_home_.add(mbuf);
        mbufs_[i] = nullptr;
      }
      continue;
    }
    frame_of_[frames] = static_cast<uint16_t>(i);
    frames_[frames++] = mbuf;
  }
  return frames;
}

void OuterPort::send(io::Sending& batch) {
  const size_t frames = write_frames(batch);
  const uint16_t sent = frames != 0 ? send_burst(port_.id(), queue_, std::span(frames_).first(frames)) : uint16_t{0};
  for (size_t i = sent; i < frames; ++i) {
    going_home_.add(frames_[i]);
    mbufs_[frame_of_[i]] = nullptr;
  }
  going_home_.go();
  counters_.datagrams_sent.add(sent);
  counters_.send_stalls.add(frames - sent);
  batch.lost = static_cast<uint32_t>(batch.count - sent - left_waiting_);
  counters_.send_errors.add(batch.lost);
  if (sent != 0) counters_.trains_sent.add(1);
  if (batch.lost != 0) report_lost(batch);
}

void OuterPort::report_lost(io::Sending& batch) {
  for (uint32_t i = 0; i < batch.count; ++i) batch.datagrams[i].lost = mbufs_[i] == nullptr;
}

}  // namespace culvert::dpdk
