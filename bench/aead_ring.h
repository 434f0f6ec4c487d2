// The messages that a benchmark seals and opens: a ring of packets in memory laid out as a data plane has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bench/aead_contender.h"

namespace culvert::bench {

// Packet sizes of one benchmark: a fixed size, or IMIX (7:4:1 of 64, 576 and 1420 bytes) where it is absent.
using PacketSize = std::optional<uint32_t>;

// Mean plaintext bytes of a packet.
[[nodiscard]] double mean_bytes(PacketSize size);

// kHot goes over the same messages again and again, as many as fit into half of L2 and at least one batch;
// kCold walks through sources and destinations that are each twice as large as L2.
enum class Temperature { kHot, kCold };

// Bytes of the first core's L2 cache; 1 MiB if the system does not tell.
[[nodiscard]] size_t l2_bytes();

// Owns plaintext, sealed and opened areas for the messages, and where the next batch starts. Sealing reads
// plaintext and writes sealed; opening reads sealed and writes opened. Contenders that agree with each other
// leave the same bytes behind, so the ring serves one after the other.
class Ring {
 public:
  // `key_count` keys of keys() take turns.
  Ring(PacketSize size, size_t key_count);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // The next `batch` messages. Batches are powers of two up to kMaxBatch.
  std::span<const crypto::SealMessage> next_to_seal(Temperature temperature, size_t batch);
  std::span<crypto::OpenMessage> next_to_open(Temperature temperature, size_t batch);

 private:
  size_t advance(Temperature temperature, size_t batch);

  size_t slot_bytes_;
  size_t count_;
  size_t hot_count_;
  size_t position_ = 0;
  size_t memory_bytes_;
  uint8_t* memory_;
  std::vector<crypto::SealMessage> to_seal_;
  std::vector<crypto::OpenMessage> to_open_;
};

}  // namespace culvert::bench
