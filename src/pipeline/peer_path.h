// What the data path needs of a peer: the worker-visible half, beside protocol::Peer, which the control
// thread keeps to itself.
#pragma once

#include <atomic>
#include <cstdint>

#include "src/pipeline/endpoint_cell.h"
#include "src/protocol/keypair.h"
#include "src/protocol/peer_handle.h"
#include "src/protocol/timers.h"

namespace culvert::pipeline {

// What a worker asks of the control thread.
enum Attention : uint32_t {
  kMarks = 1,             // a timer mark was set that nobody is watching
  kKeypairConfirmed = 2,  // the next keypair received its first message
  kStagedLate = 4,        // a packet was staged while a keypair came up
  kRoamed = 8,            // the peer's address is another one
};

// Thread safety: every member may be used from any thread as its comment says. The control thread creates it
// and frees it after a grace period and once no worker has staged packets for it.
struct PeerPath : protocol::PeerTag {
  PeerPath(uint64_t path_id, const protocol::Keypairs& peer_keypairs, protocol::TimerMarks& peer_marks)
      : id(path_id), keypairs(peer_keypairs), marks(peer_marks) {}
  PeerPath(const PeerPath&) = delete;
  PeerPath& operator=(const PeerPath&) = delete;

  // Constant after construction. An id is never used twice in a process; workers use keypairs.current() and
  // the marks alone.
  const uint64_t id;
  const protocol::Keypairs& keypairs;
  protocol::TimerMarks& marks;

  EndpointCell endpoint;

  // Relaxed: they order nothing.
  std::atomic<uint64_t> rx_bytes{0};
  std::atomic<uint64_t> tx_bytes{0};
  std::atomic<uint32_t> staged{0};
  std::atomic<bool> gso_refused{false};  // EMSGSIZE: the path is narrower than a segment
  // Bits of Attention that the control thread has not seen yet. The worker that sets the first one tells it
  // by a ring; release, pairs with the acquire in Device::attend().
  std::atomic<uint32_t> attention{0};

  // Follows the peer to where its authenticated message came from (paper section 2.1). Cookie replies never
  // get here. True if its address is another one, and not the port alone.
  [[nodiscard]] bool roam(const io::Endpoint& from) {
    if (endpoint.is(from)) return false;
    const io::Endpoint before = endpoint.load();
    endpoint.store(from);
    gso_refused.store(false, std::memory_order_relaxed);
    return before.remote != from.remote;
  }
};

// The path behind a handle; null for null. Every handle of ours is one: in the allowed IPs, the index table and the
// keypairs stand only paths.
inline PeerPath* path_of(protocol::PeerHandle handle) {
  return static_cast<PeerPath*>(handle);
}

}  // namespace culvert::pipeline
