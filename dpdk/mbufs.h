// What both sides do with mbufs.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <span>

#include "io/counters.h"
#include "io/lease.h"

namespace culvert::dpdk {

// Packets of one burst. Longer ones win nothing: the AEAD is at its best from 16 on, and data stay in the cache.
inline constexpr uint16_t kBurst = 64;
// How far ahead of the one that is read the next mbufs are fetched.
inline constexpr uint16_t kFetchAhead = 4;

// What a port counts beside the side that it is; one set for each queue and side, on a cache line of its own.
struct alignas(64) PortCounters {
  io::Counter foreign;       // frames for others, or of other protocols, addresses and ports
  io::Counter malformed;     // frames with a broken header or a bad checksum
  io::Counter fragments;     // outer fragments
  io::Counter no_memory;     // packets and datagrams for which the pool was empty
  io::Counter no_neighbour;  // packets and datagrams to whom there is no way
  io::Counter too_long;      // longer than the MTU
  io::Counter taken_over;    // datagrams that were sealed in the mbuf that their packet came in
  io::Counter copied;        // packets that had to be copied
};

inline constexpr auto kPortCounters = std::to_array<io::CounterEntry<PortCounters>>({
    {&PortCounters::foreign, "dpdk_port_foreign_total", "Frames that were not for this port or its UDP ports."},
    {&PortCounters::malformed, "dpdk_port_malformed_total", "Frames with a broken header or a bad checksum."},
    {&PortCounters::fragments, "dpdk_port_fragments_total", "Outer fragments, which are dropped."},
    {&PortCounters::no_memory, "dpdk_port_no_memory_total", "Packets that were dropped because the pool was empty."},
    {&PortCounters::no_neighbour, "dpdk_port_no_neighbour_total", "Packets to whose next hop there is no MAC address."},
    {&PortCounters::too_long, "dpdk_port_too_long_total", "Packets longer than the MTU of the port."},
    {&PortCounters::taken_over, "dpdk_port_taken_over_total", "Datagrams that left in the mbuf their packet came in."},
    {&PortCounters::copied, "dpdk_port_copied_total", "Packets that were copied from one memory to another."},
});
static_assert(io::describes_all(kPortCounters), "a counter of PortCounters has no line in the table");

// Mbufs that are about to go home, in bulk.
template <size_t kMost>
class GoingHome {
 public:
  void add(rte_mbuf* mbuf) { mbufs_[count_++] = mbuf; }
  void add(io::Lease& lease) {
    if (void* const handle = lease.take(io::Memory::mbuf)) add(static_cast<rte_mbuf*>(handle));
  }
  void go() {
    if (count_ != 0) rte_pktmbuf_free_bulk(mbufs_.data(), count_);
    count_ = 0;
  }

 private:
  std::array<rte_mbuf*, kMost> mbufs_;
  unsigned count_ = 0;
};

// Whether whoever holds the mbuf may write to all of its room, in front and behind: nobody shares it. The strides of
// mlx5's multi-packet receive queue are external memory, each with a counter of its own.
inline bool is_unshared(const rte_mbuf* mbuf) {
  if (rte_mbuf_refcnt_read(mbuf) != 1 || mbuf->nb_segs != 1) return false;
  if (RTE_MBUF_DIRECT(mbuf)) return true;
  return RTE_MBUF_HAS_EXTBUF(mbuf) && rte_mbuf_ext_refcnt_read(mbuf->shinfo) == 1;
}

inline uint8_t* room_of(const rte_mbuf* mbuf) {
  return static_cast<uint8_t*>(mbuf->buf_addr);
}

// Makes a frame of one segment out of an mbuf that may have been received: what its port said of the frame that was in
// it must not go out.
inline void set_frame(rte_mbuf* mbuf, const uint8_t* frame, uint32_t bytes) {
  mbuf->data_off = static_cast<uint16_t>(frame - room_of(mbuf));
  mbuf->data_len = static_cast<uint16_t>(bytes);
  mbuf->pkt_len = bytes;
  mbuf->ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;
  mbuf->tx_offload = 0;
}

// Sends a burst, waiting for room for a bounded time. Returns how many were sent; the rest is the caller's.
uint16_t send_burst(uint16_t port, uint16_t queue, std::span<rte_mbuf*> mbufs);

}  // namespace culvert::dpdk
