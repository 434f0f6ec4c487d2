// What a worker has sent to each peer and received from it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/counters.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {

// With the overhead of WireGuard.
struct PeerTraffic {
  io::Counter received_bytes, sent_bytes;
};

// One worker's counters for all peers, by PeerPath::number. Memory that only one worker writes: a line of counters is
// never fought for, workers may come and go, and a peer costs 16 bytes for each worker that ever served it.
//
// Thread safety: its worker adds, any thread reads. clear() is the control thread's, for a peer that no worker can
// reach any more, before its number is another's.
class PeerTrafficTable {
 public:
  // Peers that were removed count until no worker holds them.
  static constexpr size_t kMaxNumbers = 2 * protocol::kMaxPeers;

  // Reserves addresses alone; a page takes memory where its worker runs, when it first counts there. Throws bad_alloc.
  PeerTrafficTable();
  ~PeerTrafficTable();
  PeerTrafficTable(const PeerTrafficTable&) = delete;
  PeerTrafficTable& operator=(const PeerTrafficTable&) = delete;

  PeerTraffic& of(uint32_t number) { return entries_[number]; }
  const PeerTraffic& of(uint32_t number) const { return entries_[number]; }

  void clear(uint32_t number);

 private:
  PeerTraffic* const entries_;
};

}  // namespace culvert::pipeline
