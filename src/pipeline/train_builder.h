// Lays outgoing messages back to back so that each train leaves in one UDP_SEGMENT send.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/outer_queue.h"

namespace culvert::pipeline {

struct PeerPath;

// Thread safety: none; one worker owns it. All memory is allocated by the constructor.
// Invariants: datagrams of one peer leave in the order they were appended; every datagram of a train but the
// last has the train's segment size.
class TrainBuilder {
 public:
  static constexpr size_t kArenaBytes = 640 * 1024;
  static constexpr size_t kMaxTrains = 128;
  // The largest UDP payload over IPv4, and what we send at most over either family.
  static constexpr size_t kMaxDatagramBytes = 65507;

  TrainBuilder();

  // Room for a datagram of `bytes` (at most kMaxDatagramBytes) to `path` at `to`, behind the last one if they can
  // share a train; nullptr when the arena is full: send the trains, clear() and ask again.
  uint8_t* append(PeerPath& path, const io::Endpoint& to, uint8_t traffic_class, size_t bytes);

  std::span<io::OutgoingTrain> trains() { return trains_; }
  PeerPath& path_of(size_t train) const { return *paths_[train]; }
  bool empty() const { return trains_.empty(); }
  void clear();

 private:
  std::unique_ptr<uint8_t[]> arena_;
  uint8_t* base_;  // the arena's first cache line
  size_t used_ = 0;
  std::vector<io::OutgoingTrain> trains_;
  std::vector<PeerPath*> paths_;
};

}  // namespace culvert::pipeline
