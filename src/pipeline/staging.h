// Packets that wait for a handshake (the kernel module's staged_packet_queue).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
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

// Thread safety: none; one worker owns it. Bounded: kMaxStagedPackets for each peer (the paper leaves the
// number to the implementation, the kernel has 128) and kBudgetBytes in all.
class Staging {
 public:
  static constexpr size_t kBudgetBytes = 4 * 1024 * 1024;

  // Stages a copy, displacing the peer's oldest packets if its queue or the budget is full. Returns how many
  // packets were lost by that; the new one itself may be among them.
  size_t stage(PeerPath& path, const io::Superpacket& packet);

  // Takes what waits for the peer, oldest first.
  std::deque<StagedPacket> take(PeerPath& path);

  // Drops what waits for the peer. Returns how many packets that were.
  size_t drop(PeerPath& path);

 private:
  void pop_front(PeerPath& path, std::deque<StagedPacket>& queue);

  std::unordered_map<PeerPath*, std::deque<StagedPacket>> queues_;
  size_t bytes_ = 0;
};

}  // namespace culvert::pipeline
