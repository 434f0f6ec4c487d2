// Receiver indices: which keypair, or which pending handshake, a message to us belongs to (WireGuard paper
// section 5.4). A worker finds a keypair with one load.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "src/protocol/keypair.h"
#include "src/protocol/peer_handle.h"

namespace culvert::protocol {

// Uniform random 32 bits, from a cryptographic source: but for their top byte, indices must tell a stranger nothing.
using IndexRandom = std::function<uint32_t()>;

// The top byte of an index, which whoever spreads datagrams over cores reads without knowing the keypair: in its low
// bits the peer's home slot, of kHomeSlots; kSpreadBit asks to count the sender's port in. All indices of a peer have
// the same, so that rekeys move none of its packets to another core.
inline constexpr unsigned kHomeSlots = 128;
inline constexpr uint8_t kSpreadBit = 0x80;
constexpr uint8_t top_byte_of(uint32_t index) {
  return static_cast<uint8_t>(index >> 24);
}

// 2^k slots; an index lives in the slot that its low k bits name, and an index is only handed out if that
// slot is free. A bigger table uses more of the bits, so every index keeps its value and no two collide.
//
// Thread safety: find() and is_ours() from any thread, everything else from the control thread. Growing makes a new
// table: the caller publishes it to the workers and frees the old one when none can hold it any more; meanwhile both
// know the same keypairs, and nothing may be inserted into the old one.
class IndexTable {
 public:
  // Room for `capacity` indices (rounded up) at a load of one quarter.
  explicit IndexTable(size_t capacity = 64);
  IndexTable(const IndexTable&) = delete;
  IndexTable& operator=(const IndexTable&) = delete;

  // The keypair with this local index, or null. Pending handshakes are not found.
  Keypair* find(uint32_t index) const {
    // Pairs with the release in insert_keypair(): what the constructor wrote is visible.
    Keypair* keypair = slots_[index & mask_].load(std::memory_order_acquire);
    return keypair != nullptr && keypair->local_index() == index ? keypair : nullptr;
  }

  // Whether this is the index of a keypair or of a pending handshake. Any thread.
  bool is_ours(uint32_t index) const {
    // Relaxed: nothing is read by way of the index, and a worker that is a moment behind errs by a message.
    return ours_[index & mask_].load(std::memory_order_relaxed) == (kUsed | index);
  }

  // True when the load has reached one quarter: call grown() before the next insert.
  bool full() const { return size_ >= capacity(); }
  size_t size() const { return size_; }
  size_t capacity() const { return entries_.size() / 4; }

  // A copy of twice the size.
  [[nodiscard]] std::unique_ptr<IndexTable> grown() const;

  // Draws an index for a pending handshake of `peer`: its top byte is given, the rest random. The table must not be
  // full().
  [[nodiscard]] uint32_t insert_handshake(PeerHandle peer, uint8_t top_byte, const IndexRandom& random);

  // The handshake with keypair->local_index() is done: from now on the index names its keypair, and workers
  // find it. The index must be in the table.
  void insert_keypair(Keypair* keypair);

  // Takes an index out, of either kind; workers no longer find it. An index that is not there is ignored.
  void erase(uint32_t index);

  // The peer behind a pending handshake, or null.
  PeerHandle find_handshake(uint32_t index) const;

  // The peer behind an index of either kind, or null (cookie replies answer both).
  PeerHandle find_peer(uint32_t index) const;

 private:
  struct Entry {
    PeerHandle peer = nullptr;
    uint32_t index = 0;
    bool used = false;
    bool is_keypair = false;
  };

  static constexpr uint64_t kUsed = uint64_t{1} << 32;

  const Entry* entry_of(uint32_t index) const;

  uint32_t mask_;  // constant after construction
  size_t size_ = 0;
  std::unique_ptr<std::atomic<Keypair*>[]> slots_;  // null: free, or a pending handshake
  std::unique_ptr<std::atomic<uint64_t>[]> ours_;   // kUsed and the index of the slot; 0: free
  std::vector<Entry> entries_;                      // the control thread's view of the same slots
};

}  // namespace culvert::protocol
