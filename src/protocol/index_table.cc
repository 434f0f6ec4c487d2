#include "src/protocol/index_table.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace culvert::protocol {

IndexTable::IndexTable(size_t capacity) {
  const size_t slots = std::bit_ceil(std::max<size_t>(capacity, 1) * 4);
  mask_ = static_cast<uint32_t>(slots - 1);
  slots_ = std::make_unique<std::atomic<Keypair*>[]>(slots);
  ours_ = std::make_unique<std::atomic<uint64_t>[]>(slots);
  entries_.resize(slots);
}

std::unique_ptr<IndexTable> IndexTable::grown() const {
  auto table = std::make_unique<IndexTable>(capacity() * 2);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!entries_[i].used) continue;
    const uint32_t slot = entries_[i].index & table->mask_;
    table->entries_[slot] = entries_[i];
    table->ours_[slot].store(kUsed | entries_[i].index, std::memory_order_relaxed);
    // Relaxed on both sides: this thread stored it, and publishing the table releases it to the workers.
    table->slots_[slot].store(slots_[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  table->size_ = size_;
  return table;
}

uint32_t IndexTable::insert_handshake(PeerHandle peer, uint8_t top_byte, const IndexRandom& random) {
  assert(!full());
  constexpr uint32_t kRandomBits = 0x00ffffff;
  const auto draw = [&] { return uint32_t{top_byte} << 24 | (random() & kRandomBits); };
  uint32_t index = draw();
  while (entries_[index & mask_].used) index = draw();
  entries_[index & mask_] = Entry{.peer = peer, .index = index, .used = true, .is_keypair = false};
  ours_[index & mask_].store(kUsed | index, std::memory_order_relaxed);
  ++size_;
  return index;
}

void IndexTable::insert_keypair(Keypair* keypair) {
  const uint32_t slot = keypair->local_index() & mask_;
  assert(entries_[slot].used && entries_[slot].index == keypair->local_index());
  entries_[slot].is_keypair = true;
  slots_[slot].store(keypair, std::memory_order_release);  // pairs with the acquire in find()
}

void IndexTable::erase(uint32_t index) {
  if (entry_of(index) == nullptr) return;
  const uint32_t slot = index & mask_;
  // Relaxed: a worker that still reads the old pointer may use it until its next quiescent point.
  slots_[slot].store(nullptr, std::memory_order_relaxed);
  ours_[slot].store(0, std::memory_order_relaxed);
  entries_[slot] = Entry{};
  --size_;
}

PeerHandle IndexTable::find_handshake(uint32_t index) const {
  const Entry* entry = entry_of(index);
  return entry != nullptr && !entry->is_keypair ? entry->peer : nullptr;
}

PeerHandle IndexTable::find_peer(uint32_t index) const {
  const Entry* entry = entry_of(index);
  return entry != nullptr ? entry->peer : nullptr;
}

const IndexTable::Entry* IndexTable::entry_of(uint32_t index) const {
  const Entry& entry = entries_[index & mask_];
  return entry.used && entry.index == index ? &entry : nullptr;
}

}  // namespace culvert::protocol
