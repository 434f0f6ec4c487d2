// Packets from the inner side to sealed messages on the outer side.
//
// Stages, each over the whole batch:
//   1. read      superpackets of this worker's queue; where that stands,
//                some are marked or shortened (CoDel)                        (one core)
//   2. route     allowed IPs -> peer, or by the flow a member of its group;
//                -> keypair; what has none is staged                         (any core)
//   3. plan      check the packet and its virtio header, count its segments  (any core)
//   4. reserve   the counters of a run of packets in one step                (any core, one atomic)
//   5. lend      room for all datagrams, whose lengths are known by now      (one core)
//   6. segment   straight into that room, with padding and room to seal; a
//                packet that needs none of it is sealed from where it lies   (any core)
//   7. seal      the messages of the batch                                   (any core)
//   8. send      in as few system calls as the outer side can                (one core)
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "crypto/aead.h"
#include "io/inner_side.h"
#include "io/local_addresses.h"
#include "io/outer_side.h"
#include "src/packet/icmp_error.h"
#include "src/packet/ip_header.h"
#include "src/packet/segment.h"
#include "src/pipeline/codel.h"
#include "src/pipeline/shared_state.h"
#include "src/pipeline/staging.h"
#include "src/pipeline/stats.h"

namespace culvert::pipeline {

// Thread safety: none; one worker owns it. Holds no pointer into published state between two calls, apart
// from staged packets, which the control thread has dropped before it frees their peer.
class Outbound {
 public:
  Outbound(const Published& published, Mailbox& mailbox, WorkerStats& stats,
           io::LocalAddresses local_addresses = io::LocalAddresses());

  // One batch. `outer` is null while the interface is down: then what was read is dropped, as a link does
  // that is down. Sets `read` to the number of superpackets.
  io::ReadOutcome run(io::InnerSide& inner, io::OuterSide* outer, protocol::Instant now, size_t& read);

  // Sends what was staged for the peer, if it has a keypair by now.
  void flush_staged(PeerPath& path, io::InnerSide& inner, io::OuterSide* outer, protocol::Instant now);

  // Drops what was staged for the peer, counted under `reason`.
  void drop_staged(PeerPath& path, DropReason reason) { stats_.drop(reason, staging_.drop(path)); }
  // What another worker had staged goes on waiting here.
  std::vector<WaitingPacket> take_all_staged() { return staging_.take_all(); }
  void stage(std::span<const WaitingPacket> packets, protocol::Instant now);
  void drop_all_staged(DropReason reason) { stats_.drop(reason, staging_.drop_all()); }
  const Staging& staging() const { return staging_; }

 private:
  // RFC 8289, section 4.2 and 4.3: what a queue may stand at, and about the longest round trip.
  static constexpr Codel::Limits kQueueLimits{std::chrono::milliseconds(5), std::chrono::milliseconds(100)};

  // Sealing this many messages at once is as fast as it gets, while they are still in the cache.
  static constexpr size_t kSealBatch = 64;

  struct Routed {
    io::Superpacket* packet = nullptr;
    PeerPath* path = nullptr;
    protocol::Keypair* keypair = nullptr;
    uint16_t local_port = 0;    // that its flow leaves from
    uint8_t traffic_class = 0;  // of its datagrams' outer headers
    uint32_t first = 0;         // segment that leaves; those before are dropped
    packet::SegmentPlan plan;
  };
  // Neighbouring segments of one packet that leave in one Sending.
  struct Cut {
    const Routed* routed;
    uint32_t first, count;
    uint64_t counter;  // of the first
  };
  // Whose a destination of the Sending is.
  struct Recipient {
    PeerPath* path;
    uint64_t bytes;
  };
  // Which destination a peer has for a port of ours in the Sending with this number.
  struct Lookup {
    const PeerPath* path = nullptr;
    uint64_t sending = 0;
    uint16_t local_port = 0;
    uint16_t destination = 0;
  };

  void heed_waits(protocol::Instant now);
  void count_wait(std::chrono::microseconds wait);
  void signal_congestion(io::Superpacket& packet);
  bool is_shortened(const io::Superpacket& packet) const;
  void process(std::span<io::Superpacket> packets, io::InnerSide& inner, io::OuterSide& outer, protocol::Instant now);
  void plan_packet(io::Superpacket& packet, const packet::IpHeader& ip, PeerPath& path, protocol::Keypair& keypair);
  void plan_staged(PeerPath& path, protocol::Keypair& keypair);
  PeerPath* route(const io::Superpacket& packet, packet::IpHeader& ip, io::InnerSide& inner, protocol::Instant now);
  PeerPath* find_path(const io::Superpacket& packet, const packet::IpHeader& ip);
  protocol::PeerHandle owner_of(const uint8_t* destination, const packet::IpHeader& ip);
  uint64_t flow_of(const io::Superpacket& packet, const packet::IpHeader& ip);
  uint16_t local_port_of(const io::Superpacket& packet, const packet::IpHeader& ip, const PeerPath& path);
  bool is_local_port(uint16_t port) const;
  bool is_own_datagram(const io::Superpacket& packet, const packet::IpHeader& ip, PeerPath& path,
                       protocol::Instant now);
  const io::Endpoint& endpoint_of(PeerPath& path);
  protocol::Keypair* keypair_or_stage(PeerPath& path, const io::Superpacket& packet, protocol::Instant now);
  void answer_unreachable(const io::Superpacket& packet, const packet::IpHeader& ip, io::InnerSide& inner);
  void emit_run(std::span<const Routed> run, io::OuterSide& outer, protocol::Instant now);
  void emit_segments(const Routed& routed, uint64_t counter, io::OuterSide& outer);
  uint32_t room_for(size_t bytes) const;
  void add_datagrams(const Cut& cut, size_t bytes);
  uint16_t destination_of(const Routed& routed);
  uint16_t look_up_destination(const Routed& routed);
  bool has_class(uint16_t destination, uint8_t traffic_class) const {
    return sending_.destinations[destination].envelope.traffic_class == traffic_class;
  }
  uint16_t add_destination(const Routed& routed);
  void send_pending(io::OuterSide& outer);
  io::Outgoing* fill_and_seal(const Cut& cut, io::Outgoing* out);
  void seal_pending();
  void settle_sent();
  void begin_sending();
  void refill_unreachable_budget(protocol::Instant now);

  // Constant after construction.
  const Published& published_;
  Mailbox& mailbox_;
  WorkerStats& stats_;

  io::PlainBatch batch_;
  Codel codel_;  // of the inner side's queue
  // Those of the batch that leave without their first segment.
  std::array<const io::Superpacket*, io::PlainBatch::kMaxPackets> shortened_;
  size_t shortened_count_ = 0;
  std::vector<Routed> routed_;  // the first routed_count_; those behind keep what they held
  size_t routed_count_ = 0;
  std::array<crypto::SealMessage, kSealBatch> to_seal_;
  size_t to_seal_count_ = 0;
  Staging staging_;
  std::vector<std::vector<StagedPacket>> unstaged_;  // what routed_ refers to besides the batch
  const PeerPath* endpoint_path_ = nullptr;          // whose endpoint_ is, within this batch
  io::Endpoint endpoint_;
  // The destination that was looked up last in this batch, and whose it is: neighbours most often share it. Version 0:
  // none was.
  packet::AddressWords owner_address_;
  uint8_t owner_version_ = 0;
  protocol::PeerHandle owner_ = nullptr;
  const io::Superpacket* flow_packet_ = nullptr;  // whose flow_ is, within this batch
  uint64_t flow_ = 0;
  size_t mtu_ = 0;                         // of this batch
  uint16_t listen_port_ = 0;               // of this batch
  std::span<const uint16_t> local_ports_;  // of this batch
  io::LocalAddresses local_addresses_;
  const protocol::AllowedIps* allowed_ips_ = nullptr;  // of this batch

  // What leaves next. No peer has more than one destination for a port of ours that is still added to.
  static constexpr size_t kLookups = 2 * io::Sending::kMaxDestinations;
  static constexpr size_t kLookupsBetweenPorts = 37;
  io::Sending sending_;
  size_t sending_bytes_ = 0;
  uint64_t sending_number_ = 1;
  std::array<Cut, io::Sending::kMaxDatagrams> cuts_;
  size_t cut_count_ = 0;
  std::array<Recipient, io::Sending::kMaxDestinations> recipients_;  // of each destination
  std::array<Lookup, kLookups> lookups_;
  uint16_t last_destination_ = 0;  // that was looked up

  // ICMP errors are limited as Linux limits them: icmp_msgs_per_sec, icmp_msgs_burst.
  static constexpr uint32_t kUnreachablePerSecond = 1000, kUnreachableBurst = 50;
  uint32_t unreachable_budget_ = kUnreachableBurst;
  protocol::Instant unreachable_refilled_{};
  std::array<uint8_t, packet::kMaxUnreachableBytes> unreachable_;
};

}  // namespace culvert::pipeline
