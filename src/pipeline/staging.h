// Packets that wait for a handshake (the kernel module's staged_packet_queue).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "io/superpacket.h"

namespace culvert::pipeline {

struct PeerPath;

// A copy of a superpacket, since the queue it was read from takes its memory back.
struct StagedPacket {
  std::unique_ptr<uint8_t[]> bytes;
  io::Superpacket packet;
};

// One that waited at a worker, on its way to another.
struct WaitingPacket {
  PeerPath* path;
  StagedPacket staged;
};

// Thread safety: none; one worker owns it. Bounded: kMaxStagedPackets for each peer (the paper leaves the
// number to the implementation, the kernel has 128), kPeerBudgetBytes for each peer, so that one with a bulk
// flow leaves room for others, and kBudgetBytes in all.
class Staging {
 public:
  static constexpr size_t kBudgetBytes = 4 * 1024 * 1024;
  static constexpr size_t kPeerBudgetBytes = kBudgetBytes / 4;
  // What a packet takes beside its bytes: its place in the queue, tailroom, and its share of the allocator's
  // and the map's memory.
  static constexpr size_t kPacketOverheadBytes = 256;

  // Stages a copy, displacing the peer's oldest packets if its queue or a budget is full. Returns how many
  // packets were lost by that; the new one itself may be among them.
  size_t stage(PeerPath& path, const io::Superpacket& packet);

  // Takes what waits for the peer, oldest first.
  std::vector<StagedPacket> take(PeerPath& path);

  // Takes what waits for any peer, for each the oldest first.
  std::vector<WaitingPacket> take_all();

  // Drops what waits for the peer. Returns how many packets that were.
  size_t drop(PeerPath& path);

  // Drops what waits for any peer. Returns how many packets that were.
  size_t drop_all();

  // How many packets wait. Any thread; see PeerPath::staged.
  size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  struct Queue {
    std::vector<StagedPacket> packets;
    size_t bytes = 0;  // with overhead
  };

  bool has_room(const Queue& queue, size_t bytes) const;
  void pop_front(PeerPath& path, Queue& queue);
  void forget(PeerPath& path, size_t packets);

  std::unordered_map<PeerPath*, Queue> queues_;
  size_t bytes_ = 0;
  std::atomic<size_t> size_{0};  // written by the owner alone
};

}  // namespace culvert::pipeline
