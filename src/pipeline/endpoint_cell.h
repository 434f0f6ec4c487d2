// A peer's endpoint, read by workers for every train and replaced when the peer roams.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <type_traits>

#include "io/endpoint.h"

namespace culvert::pipeline {

// Thread safety: any thread may load and store. Readers never block: a sequence lock over words (Boehm, "Can
// Seqlocks Get Along with Programming Language Memory Models?", MSPC 2012), writers take a mutex.
class EndpointCell {
 public:
  io::Endpoint load() const {
    for (;;) {
      const uint32_t before = sequence_.load(std::memory_order_acquire);  // pairs with the release in store()
      if (before & 1) continue;
      std::array<uint64_t, kWords> words;
      for (size_t i = 0; i < kWords; ++i)
        words[i] = words_[i].load(std::memory_order_acquire);  // keeps the next load of sequence_ behind it
      if (sequence_.load(std::memory_order_relaxed) != before) continue;
      io::Endpoint endpoint;
      std::memcpy(static_cast<void*>(&endpoint), words.data(), sizeof endpoint);
      return endpoint;
    }
  }

  void store(const io::Endpoint& endpoint) {
    const std::lock_guard lock(writers_);
    store_locked(endpoint);
  }

  // Forgets the sticky source if it is still `refused`.
  void forget_source(const io::Address& refused) {
    const std::lock_guard lock(writers_);
    io::Endpoint endpoint = load();
    if (endpoint.source != refused) return;
    endpoint.source = {};
    store_locked(endpoint);
  }

 private:
  static_assert(std::is_trivially_copyable_v<io::Endpoint>);
  static constexpr size_t kWords = (sizeof(io::Endpoint) + 7) / 8;

  void store_locked(const io::Endpoint& endpoint) {
    std::array<uint64_t, kWords> words{};
    std::memcpy(words.data(), &endpoint, sizeof endpoint);
    const uint32_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence + 1, std::memory_order_relaxed);
    for (size_t i = 0; i < kWords; ++i)
      words_[i].store(words[i], std::memory_order_release);  // keeps the odd sequence before it
    sequence_.store(sequence + 2, std::memory_order_release);
  }

  std::mutex writers_;
  std::atomic<uint32_t> sequence_{0};
  std::array<std::atomic<uint64_t>, kWords> words_{};
};

}  // namespace culvert::pipeline
