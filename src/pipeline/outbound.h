// Packets from the inner side to sealed messages on the outer side.
//
// Stages, each over the whole batch:
//   1. read      superpackets of this worker's queue                         (one core)
//   2. route     allowed IPs -> peer -> keypair; what has none is staged     (any core)
//   3. plan      check the packet and its virtio header, count its segments  (any core)
//   4. reserve   the counters of a run of packets in one step                (any core, one atomic)
//   5. segment   straight into the train, with padding and room to seal      (any core)
//   6. seal      the messages of the batch                                   (any core)
//   7. send      each train in one system call                               (one core)
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "crypto/aead.h"
#include "io/inner_queue.h"
#include "io/outer_queue.h"
#include "src/packet/segment.h"
#include "src/packet/unreachable.h"
#include "src/pipeline/mailbox.h"
#include "src/pipeline/peer_path.h"
#include "src/pipeline/published.h"
#include "src/pipeline/staging.h"
#include "src/pipeline/stats.h"
#include "src/pipeline/train_builder.h"

namespace culvert::pipeline {

// Thread safety: none; one worker owns it. Holds no pointer into published state between two calls, apart
// from staged packets, which the control thread has dropped before it frees their peer.
class Outbound {
 public:
  static constexpr size_t kBatchPackets = 64;

  Outbound(const Published& published, Mailbox& mailbox, WorkerStats& stats);

  // One batch. `outer` is null while the interface is down: then what was read is dropped, as a link does
  // that is down. Sets `read` to the number of superpackets.
  io::ReadOutcome run(io::InnerQueue& inner, io::OuterQueue* outer, protocol::Instant now, size_t& read);

  // Sends what was staged for the peer, if it has a keypair by now.
  void flush_staged(PeerPath& path, io::InnerQueue& inner, io::OuterQueue* outer, protocol::Instant now);

  // Drops what was staged for the peer, counted under `reason`.
  void drop_staged(PeerPath& path, DropReason reason) { stats_.drop(reason, staging_.drop(path)); }

 private:
  struct Routed {
    const io::Superpacket* packet = nullptr;
    PeerPath* path = nullptr;
    protocol::Keypair* keypair = nullptr;
    packet::SegmentPlan plan;
  };

  void process(std::span<const io::Superpacket> packets, io::InnerQueue& inner, io::OuterQueue& outer,
               protocol::Instant now);
  void plan_packet(const io::Superpacket& packet, PeerPath& path, protocol::Keypair& keypair);
  void plan_staged(PeerPath& path, protocol::Keypair& keypair);
  PeerPath* route(const io::Superpacket& packet, io::InnerQueue& inner);
  const io::Endpoint& endpoint_of(PeerPath& path);
  protocol::Keypair* keypair_or_stage(PeerPath& path, const io::Superpacket& packet, protocol::Instant now);
  void answer_unreachable(const io::Superpacket& packet, io::InnerQueue& inner);
  void emit_run(std::span<const Routed> run, io::OuterQueue& outer, protocol::Instant now);
  void emit_segments(const Routed& routed, uint64_t counter, io::OuterQueue& outer);
  void seal_pending();
  void send_trains(io::OuterQueue& outer);
  void refill_unreachable_budget(protocol::Instant now);

  // Constant after construction.
  const Published& published_;
  Mailbox& mailbox_;
  WorkerStats& stats_;

  std::array<io::Superpacket, kBatchPackets> batch_;
  std::vector<Routed> routed_;
  std::vector<crypto::SealMessage> to_seal_;
  TrainBuilder trains_;
  Staging staging_;
  std::vector<std::vector<StagedPacket>> unstaged_;  // what routed_ refers to besides the batch
  const PeerPath* endpoint_path_ = nullptr;          // whose endpoint_ is, within this batch
  io::Endpoint endpoint_;
  size_t mtu_ = 0;                                     // of this batch
  uint16_t listen_port_ = 0;                           // of this batch
  const protocol::AllowedIps* allowed_ips_ = nullptr;  // of this batch

  // ICMP errors are limited as Linux limits them: icmp_msgs_per_sec, icmp_msgs_burst.
  static constexpr uint32_t kUnreachablePerSecond = 1000, kUnreachableBurst = 50;
  uint32_t unreachable_budget_ = kUnreachableBurst;
  protocol::Instant unreachable_refilled_{};
  std::array<uint8_t, packet::kMaxUnreachableBytes> unreachable_;
};

}  // namespace culvert::pipeline
