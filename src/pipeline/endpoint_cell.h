// A peer's endpoint, read by workers for every train and replaced when the peer roams.
#pragma once

#include <array>
#include <atomic>
#include <cstring>

#include "io/endpoint.h"
#include "src/protocol/mutex.h"

namespace culvert::pipeline {

// Thread safety: any thread may load and store. Readers never block: a sequence lock over words (Boehm, "Can
// Seqlocks Get Along with Programming Language Memory Models?", MSPC 2012), writers take a mutex.
class EndpointCell {
 public:
  io::Endpoint load() const {
    for (;;) {
      const uint32_t before = sequence_.load(std::memory_order_acquire);  // pairs with the release in store()
      if (before & 1) continue;
      Words words;
      for (size_t i = 0; i < kWords; ++i)
        words[i] = words_[i].load(std::memory_order_acquire);  // keeps the next load of sequence_ behind it
      if (sequence_.load(std::memory_order_relaxed) != before) continue;
      return unpack(words);
    }
  }

  // Whether load() would return `endpoint`. Compared by words: what was just stored by words of 8 bytes and is read
  // back by wider ones waits for the store (50 cycles for 6).
  bool is(const io::Endpoint& endpoint) const {
    const Words wanted = pack(endpoint);
    for (;;) {
      const uint32_t before = sequence_.load(std::memory_order_acquire);  // pairs with the release in store()
      if (before & 1) continue;
      uint64_t difference = 0;
      for (size_t i = 0; i < kWords; ++i) difference |= words_[i].load(std::memory_order_acquire) ^ wanted[i];
      if (sequence_.load(std::memory_order_relaxed) == before) return difference == 0;
    }
  }

  void store(const io::Endpoint& endpoint) {
    const protocol::MutexLock lock(writers_);
    store_locked(endpoint);
  }

  // Forgets the sticky source if it is still `refused`.
  void forget_source(const io::Address& refused) {
    const protocol::MutexLock lock(writers_);
    io::Endpoint endpoint = load();
    if (endpoint.source != refused) return;
    endpoint.source = {};
    store_locked(endpoint);
  }

 private:
  // Remote address, source address, and the rest; no padding, so that equal endpoints are equal words.
  static constexpr size_t kWords = 5;
  using Words = std::array<uint64_t, kWords>;

  static Words pack(const io::Endpoint& endpoint) {
    Words words;
    std::memcpy(&words[0], endpoint.remote.bytes.data(), 16);
    std::memcpy(&words[2], endpoint.source.bytes.data(), 16);
    words[4] = uint64_t{endpoint.scope_id} << 32 | uint64_t{endpoint.port} << 16 |
               uint64_t{static_cast<uint8_t>(endpoint.remote.family)} << 8 |
               static_cast<uint8_t>(endpoint.source.family);
    return words;
  }
  static io::Endpoint unpack(const Words& words) {
    io::Endpoint endpoint;
    std::memcpy(endpoint.remote.bytes.data(), &words[0], 16);
    std::memcpy(endpoint.source.bytes.data(), &words[2], 16);
    endpoint.scope_id = static_cast<uint32_t>(words[4] >> 32);
    endpoint.port = static_cast<uint16_t>(words[4] >> 16);
    endpoint.remote.family = static_cast<io::Family>(words[4] >> 8 & 0xff);
    endpoint.source.family = static_cast<io::Family>(words[4] & 0xff);
    return endpoint;
  }

  void store_locked(const io::Endpoint& endpoint) REQUIRES(writers_) {
    const Words words = pack(endpoint);
    const uint32_t sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence + 1, std::memory_order_relaxed);
    for (size_t i = 0; i < kWords; ++i)
      words_[i].store(words[i], std::memory_order_release);  // keeps the odd sequence before it
    sequence_.store(sequence + 2, std::memory_order_release);
  }

  protocol::Mutex writers_;  // what they write is read without it
  std::atomic<uint32_t> sequence_{0};
  std::array<std::atomic<uint64_t>, kWords> words_{};
};

}  // namespace culvert::pipeline
