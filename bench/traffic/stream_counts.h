// What a sink has seen, over all streams.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>

#include "bench/traffic/sequence_tracker.h"

namespace culvert::traffic {

// Thread safety: none. Memory: 8 KiB a stream; beyond kMaxStreams datagrams are counted but not followed.
class StreamCounts {
 public:
  static constexpr size_t kMaxStreams = 16384;

  // A received message: one datagram, or several of segment_bytes each but for the last. What is too short for a header
  // is no datagram of ours and not counted.
  void record(std::span<const uint8_t> message, size_t segment_bytes, int64_t now);

  // Counts from zero again. Streams go on where they are, so that what was lost before does not count; those that
  // stood still since the last reset() are forgotten.
  void reset();

  uint64_t datagrams() const { return datagrams_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t messages() const { return messages_; }
  uint64_t lost() const;
  uint64_t reordered() const;
  uint64_t duplicates() const;
  // From the first to the last arrival.
  int64_t duration_ns() const { return last_ns_ - first_ns_; }
  // From sendmmsg(2) to the sink's program; means something if sender and sink share a clock.
  double mean_delay_us() const;
  double max_delay_us() const { return static_cast<double>(max_delay_ns_) / 1e3; }

 private:
  struct Stream {
    SequenceTracker tracker;
    bool active = true;  // since the last reset()
  };

  Stream* find(uint32_t number);

  std::unordered_map<uint32_t, std::unique_ptr<Stream>> streams_;
  // The stream of the last datagram: mostly that of the next one too.
  Stream* latest_ = nullptr;
  uint32_t latest_number_ = 0;

  uint64_t datagrams_ = 0;
  uint64_t bytes_ = 0;
  uint64_t messages_ = 0;
  int64_t first_ns_ = 0;
  int64_t last_ns_ = 0;
  int64_t total_delay_ns_ = 0;
  int64_t max_delay_ns_ = 0;
};

}  // namespace culvert::traffic
