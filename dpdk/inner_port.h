// The inner side on one queue of a port: plain packets are sealed from the mbuf that they came in, and leave in the
// mbuf that they were opened in, superpackets as chains of such mbufs.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "dpdk/mbufs.h"
#include "dpdk/next_hops.h"
#include "dpdk/port.h"
#include "dpdk/waiting_frames.h"
#include "dpdk/wanted_hops.h"
#include "io/inner_side.h"

namespace culvert::dpdk {

// Thread safety: as InnerSide says. The port, its pool and the published addresses outlive it.
class InnerPort final : public io::InnerSide {
 public:
  // `wanted`: who asks for MAC addresses; null: nobody. It outlives the side.
  InnerPort(const Port& port, uint16_t queue, const PublishedNextHops& next_hops, WantedHops* wanted = nullptr);

  io::ReadOutcome read(io::PlainBatch& batch) override;
  void release(io::PlainBatch& batch) override;
  size_t write(std::span<const io::GatheredPacket> packets) override;
  io::InnerOffloads offloads() const override { return offloads_; }
  const io::InnerCounters& counters() const override { return counters_; }
  const PortCounters& port_counters() const { return port_counters_; }

 private:
  static constexpr size_t kMaxPacketBytes = 65535, kSlotBytes = kMaxPacketBytes + io::kTailroom;
  // Memory for packets that arrive in pieces, or with no room behind them. Touched only where there are such.
  using Whole = std::array<uint8_t, kSlotBytes>;

  void add_packet(rte_mbuf* mbuf, io::PlainBatch& batch, const NextHops& hops);
  bool make_whole(rte_mbuf* mbuf, uint32_t packet_at, io::Superpacket& packet, size_t slot);
  const MacAddress* next_hop_of(const io::GatheredPacket& packet, const NextHops& hops);
  rte_mbuf* chain_of(const io::GatheredPacket& packet);
  rte_mbuf* take_part(const io::GatheredPacket& packet, size_t i);
  bool append_copy(const uint8_t* bytes, size_t length, rte_mbuf*& first, rte_mbuf*& last);
  void ask_offload(const io::GatheredPacket& packet, uint32_t link_bytes, rte_mbuf* first) const;
  bool add_frame(const io::GatheredPacket& packet, const NextHops& hops);
  void send_waiting(const NextHops& hops);
  size_t send_frames();

  // Constant after construction.
  const Port& port_;
  const uint16_t queue_;
  rte_mempool* const pool_;
  WantedHops* const wanted_;
  const io::InnerOffloads offloads_;

  PublishedNextHops::Reader next_hops_;
  std::unique_ptr<Whole[]> whole_;
  WaitingFrames waiting_;
  // Of the batch that is written: whose next hop was looked up last.
  io::Address destination_;
  const MacAddress* next_hop_ = nullptr;
  bool may_wait_ = false;  // somebody can ask for the MAC address of that next hop
  bool asked_ = false;     // and does so already
  std::array<rte_mbuf*, kBurst> frames_;
  size_t frame_count_ = 0;
  uint64_t frame_bytes_ = 0;
  GoingHome<kBurst> going_home_;
  io::InnerCounters counters_;
  PortCounters port_counters_;
};

}  // namespace culvert::dpdk
