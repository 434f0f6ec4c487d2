// What a worker counts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "src/pipeline/drop_reason.h"

namespace culvert::pipeline {

// A counter with one writer; any thread reads it. Relaxed: it orders nothing.
class Counter {
 public:
  void add(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Thread safety: written by the owning worker, read by any thread.
struct WorkerStats {
  Counter inner_packets_read;     // superpackets
  Counter inner_packets_written;  // superpackets
  Counter messages_sealed;
  Counter messages_opened;
  Counter keepalives_received;
  Counter packets_staged;
  Counter unreachable_sent;  // ICMP errors to the inner side
  Counter wakeups;           // returns from waiting for events
  std::array<Counter, kDropReasons> drops;

  void drop(DropReason reason, uint64_t n = 1) { drops[static_cast<size_t>(reason)].add(n); }
};

}  // namespace culvert::pipeline
