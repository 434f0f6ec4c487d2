// A count for metrics.
#pragma once

#include <atomic>
#include <cstdint>

namespace culvert::io {

// Thread safety: one thread adds, any thread reads. Relaxed, without a partner: each count stands for itself.
class Count {
 public:
  void add(uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace culvert::io
