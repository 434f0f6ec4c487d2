// The outer side on one queue of a port: datagrams are opened in the mbuf that they came in, and sealed into the mbuf
// that they leave in.
#pragma once

#include <array>
#include <bitset>
#include <span>
#include <vector>

#include "dpdk/mbufs.h"
#include "dpdk/next_hops.h"
#include "dpdk/port.h"
#include "dpdk/waiting_frames.h"
#include "dpdk/wanted_hops.h"
#include "io/outer_side.h"

namespace culvert::dpdk {

struct OuterPortOptions {
  std::vector<uint16_t> local_ports;  // UDP ports of ours, the listen port first
  // Where the device does not do it: v6 needs a checksum by us, v4 none (RFC 768). `checksum_v4` makes us do that, too,
  // for middleboxes that want it.
  bool checksum_v4 = false;
  WantedHops* wanted = nullptr;  // who asks for MAC addresses; null: nobody
  // Where to count: of all sides that a queue has, one after the other. It outlives them; null: each has its own.
  PortCounters* counters = nullptr;
};

// Thread safety: as OuterSide says. The port, its pool and the published addresses outlive it.
class OuterPort final : public io::OuterSide {
 public:
  OuterPort(const Port& port, uint16_t queue, const PublishedNextHops& next_hops, const OuterPortOptions& options);
  void receive(io::Received& batch) override;
  void release(io::Received& batch) override;
  void lend(io::Sending& batch) override;
  void send(io::Sending& batch) override;
  const io::OuterCounters& counters() const override { return counters_; }
  std::span<const uint16_t> local_ports() const override { return ports_; }
  const PortCounters& port_counters() const { return port_counters_; }

 private:
  // What tells the envelope of a datagram from that of the one before.
  struct Run {
    const uint8_t* addresses = nullptr;
    uint32_t ports = 0;
    uint8_t traffic_class = 0;
    bool v6 = false;
  };

  void add_datagram(rte_mbuf* mbuf, io::Received& batch, const NextHops& hops);
  bool begin_envelope(const uint8_t* frame, const DatagramFrame& read, io::Received& batch, const NextHops& hops);
  void prepare_destinations(io::Sending& batch, const NextHops& hops);
  bool ask_for_hop_to(const io::Address& remote, const NextHops& hops, bool& asked);
  void send_waiting(const NextHops& hops);
  bool take_over(io::Outgoing& out, const DatagramHeaders& headers, rte_mbuf*& mbuf);
  void lend_fresh(io::Sending& batch, size_t wanted);
  UdpChecksum checksum_for(const DatagramHeaders& headers) const;
  size_t write_frames(io::Sending& batch);
  void report_lost(io::Sending& batch);

  // Constant after construction.
  const Port& port_;
  const uint16_t queue_;
  rte_mempool* const pool_;
  const uint16_t room_;  // bytes of a fresh mbuf
  const UdpChecksum checksum_v4_, checksum_v6_;
  WantedHops* const wanted_;
  const std::vector<uint16_t> ports_;
  std::bitset<65536> is_ours_;  // of each UDP port

  PublishedNextHops::Reader next_hops_;
  Run run_;  // of the last envelope of this batch
  // Of the batch that is lent.
  std::array<DatagramHeaders, io::Sending::kMaxDestinations> headers_;
  std::array<bool, io::Sending::kMaxDestinations> reachable_;
  std::array<bool, io::Sending::kMaxDestinations> waits_;  // for the MAC address of its next hop
  std::array<bool, io::Sending::kMaxDestinations> asked_;  // waits_, and is asked for
  size_t left_waiting_ = 0;                                // datagrams of the batch
  std::array<rte_mbuf*, io::Sending::kMaxDatagrams> mbufs_;
  std::array<uint16_t, io::Sending::kMaxDatagrams> wanting_;
  std::array<rte_mbuf*, io::Sending::kMaxDatagrams> frames_;
  std::array<uint16_t, io::Sending::kMaxDatagrams> frame_of_;  // the datagram in frames_[i]
  WaitingFrames waiting_;
  GoingHome<io::Sending::kMaxDatagrams> going_home_;
  io::OuterCounters counters_;
  PortCounters own_counters_;
  PortCounters& port_counters_;
};

}  // namespace culvert::dpdk
