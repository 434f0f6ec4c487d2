#include "src/pipeline/peer_traffic.h"

#include <sys/mman.h>

#include <new>
#include <type_traits>

namespace culvert::pipeline {
namespace {

constexpr size_t kTableBytes = PeerTrafficTable::kMaxNumbers * sizeof(PeerTraffic);

// Zeroed pages are PeerTraffics: two integers that start at zero.
static_assert(std::is_trivially_destructible_v<PeerTraffic> && sizeof(PeerTraffic) == 2 * sizeof(uint64_t));

PeerTraffic* reserve_table() {
  void* const memory =
      ::mmap(nullptr, kTableBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // A huge page for a few counters would be a waste.
  (void)::madvise(memory, kTableBytes, MADV_NOHUGEPAGE);
  return static_cast<PeerTraffic*>(memory);
}

}  // namespace

PeerTrafficTable::PeerTrafficTable() : entries_(reserve_table()) {}

PeerTrafficTable::~PeerTrafficTable() {
  ::munmap(entries_, kTableBytes);
}

void PeerTrafficTable::clear(uint32_t number) {
  PeerTraffic& entry = entries_[number];
  // Most were never written: reading them takes no memory.
  if (entry.received_bytes.get() == 0 && entry.sent_bytes.get() == 0) return;
  entry.received_bytes.clear();
  entry.sent_bytes.clear();
}

}  // namespace culvert::pipeline
