// Everything that workers and the control thread share: who writes each word, who reads it, and how it is ordered.
// What is not on this page belongs to one thread.
//
//   word                            written by        read by          order, and its partner
//   ------------------------------  ----------------  ---------------  ----------------------------------------------
//   Published: allowed_ips,         control           workers, once    release; acquire. The old object is freed after
//     index_table, mac1_key                           a batch          a grace period (grace_period.h)
//   Published: mtu, listen_port     control           workers          relaxed: a batch late is no harm
//   Published: flow_key             nobody            workers          constant
//   PeerGroup: candidates           control           workers          relaxed: a packet late is no harm
//   IndexTable: a slot              control           workers          insert_keypair() releases; find() acquires
//   IndexTable: is_ours()           control           workers          relaxed: a guess, checked again by control
//   Keypairs: current, next         control           workers          publish() releases; current(), to_send_with()
//                                                                      acquire. Freed after a grace period
//   Keypair: send counter           workers, control  the same         relaxed: reserved a batch at a time, no number
//                                                                      is handed out twice
//   Keypair: replay window          workers           the same         a mutex, taken once for each run of a batch
//   Keypair: confirmed, expired     workers; control  both             relaxed: they only ever turn on
//   TimerMarks: watched             workers, control  both             acq_rel exchanges, of one another: touch() and
//                                                                      Timers::watch()
//   TimerMarks: the rest            workers, control  both             relaxed, behind `watched`
//   PeerPath: endpoint              workers, control  both             a sequence lock; writers take its mutex
//   PeerPath: traffic               control           control          relaxed
//   Mailbox: traffic                its worker        control          relaxed: counters, summed by the reader
//   PeerPath: staged                workers           both             acq_rel in Staging::stage() and in
//                                                                      Device::has_staged(): whichever comes second
//                                                                      sees the other. Else relaxed
//   Staging: size()                 its worker        both             relaxed, behind PeerPath::staged
//   PeerPath: source_ports          control           workers          relaxed: a batch late is no harm
//   PeerPath: heard_ports           workers, control  workers          relaxed; heard_ports.h
//   PeerPath: gso_refused           workers, control  workers          relaxed: a hint
//   PeerPath: attention             workers; control  both             acq_rel in ask_attention() and, taking all bits,
//                                                                      in Device::attend_peer()
//   Mailbox: both rings             its worker        control          the rings' own; io/spsc_ring.h
//   Mailbox: overflowed             its worker        control          release; acq_rel exchange in Device::attend()
//   ControlOutbox: its ring         control           its worker       the ring's own
//   Worker: tasks, outer side       both              both             mutexes; the fields in worker.h name them
//   Worker: inner_gone              its worker        control          release; acquire
//   WorkerStats, counters of sides  its worker        control          relaxed; drops of control_queue_full are counted
//                                                                      by control alone
//   Wakeup                          anyone            its reader       a system call, which orders what came before
//
// A worker holds no pointer out of these between two turns of its loop, but for staged packets, tasks and control
// datagrams, which name a PeerPath: drop_staged() returns when the worker has let go of it, and then it is freed.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "io/counters.h"
#include "io/endpoint.h"
#include "io/spsc_ring.h"
#include "io/wakeup.h"
#include "src/packet/flow_hash.h"
#include "src/pipeline/endpoint_cell.h"
#include "src/pipeline/heard_ports.h"
#include "src/pipeline/peer_traffic.h"
#include "src/protocol/allowed_ips.h"
#include "src/protocol/cookie.h"
#include "src/protocol/index_table.h"
#include "src/protocol/keypair.h"
#include "src/protocol/messages.h"
#include "src/protocol/peer_handle.h"
#include "src/protocol/timers.h"

namespace culvert::pipeline {

// What the control thread publishes: pointers to objects that never change or synchronise themselves, replaced as a
// whole. The handles in the allowed IPs are those of a Route (route_of()), in the index table those of a PeerPath
// (path_of()).
struct Published {
  std::atomic<const protocol::AllowedIps*> allowed_ips{nullptr};  // never null while workers run
  std::atomic<const protocol::IndexTable*> index_table{nullptr};  // never null while workers run
  std::atomic<const protocol::Mac1Key*> mac1_key{nullptr};        // null: no private key, no handshakes
  std::atomic<uint32_t> mtu{0};                                   // of the inner side
  std::atomic<uint16_t> listen_port{0};
  // Of all workers: whichever reads a packet of a flow, the flow keeps its member of a group and its port.
  const packet::FlowHashKey flow_key = packet::make_flow_hash_key();
};

// What a worker asks of the control thread for a peer.
enum Attention : uint32_t {
  kMarks = 1,             // a timer mark was set that nobody is watching
  kKeypairConfirmed = 2,  // the next keypair received its first message
  kStagedLate = 4,        // a packet was staged while a keypair came up
  kRoamed = 8,            // the peer's address is another one, or the one that it calls
};

// Where packets for an inner address go: a PeerPath, or a PeerGroup (peer_group.h).
struct Route : protocol::PeerTag {
  explicit Route(bool group) : is_group(group) {}

  const bool is_group;
};

// What the data path needs of a peer, beside protocol::Peer, which the control thread keeps to itself. The control
// thread creates it and frees it after a grace period, and once no worker has staged packets for it.
struct PeerPath : Route {
  // `peer_number`: below PeerTrafficTable::kMaxNumbers, and no other's that workers can reach.
  PeerPath(uint64_t path_id, uint32_t peer_number, const protocol::Keypairs& peer_keypairs,
           protocol::TimerMarks& peer_marks)
      : Route(false), id(path_id), number(peer_number), keypairs(peer_keypairs), marks(peer_marks) {}
  PeerPath(const PeerPath&) = delete;
  PeerPath& operator=(const PeerPath&) = delete;

  // Constant after construction. An id is never used twice in a process, a number once the peer is freed; workers use
  // what is to be sent with and the marks alone.
  const uint64_t id;
  const uint32_t number;
  const protocol::Keypairs& keypairs;
  protocol::TimerMarks& marks;

  EndpointCell endpoint;
  PeerTraffic traffic;  // handshake messages received, and all that workers had counted that are no more
  std::atomic<uint32_t> staged{0};
  std::atomic<bool> gso_refused{false};  // EMSGSIZE: the path is narrower than a segment
  std::atomic<uint32_t> attention{0};    // bits of Attention that the control thread has not seen yet

  // Over how many ports of ours its flows are spread, at most. More than 1 says that the peer spreads its own, too.
  std::atomic<uint16_t> source_ports{1};
  HeardPorts heard_ports;  // of such a peer

  // Of a device that listens wide (io/listen_wide.h): the port of ours that the peer called last, if it is none of the
  // device's own; 0: answer from the base port. Relaxed: an answer from another port is only less welcome.
  std::atomic<uint16_t> asked_port{0};

  // The peer's authenticated message came to `port`; `own` are the device's, none where the side has no ports.
  void asked_at(uint16_t port, std::span<const uint16_t> own) {
    const bool is_own = own.empty() || std::find(own.begin(), own.end(), port) != own.end();
    const uint16_t asked = is_own ? 0 : port;
    if (asked_port.load(std::memory_order_relaxed) != asked) asked_port.store(asked, std::memory_order_relaxed);
  }
  // What leaves for the peer and is not spread over ports leaves from there.
  uint16_t port_to_answer_from(uint16_t base_port) const {
    const uint16_t asked = asked_port.load(std::memory_order_relaxed);
    return asked != 0 ? asked : base_port;
  }

  bool spreads() const { return source_ports.load(std::memory_order_relaxed) > 1; }

  // Follows the peer to where its authenticated transport data came from (paper section 2.1); heard_ports.h says when
  // it stays. True if its address or the one of ours that it calls is another one, and not the port alone.
  [[nodiscard]] bool roam(const io::Endpoint& from) {
    if (endpoint.is(from)) return false;
    const io::Endpoint before = endpoint.load();
    const bool only_port = before.remote == from.remote && before.source == from.source;
    if (spreads()) {
      if (!only_port || before.scope_id != from.scope_id)
        heard_ports.begin(from.port);
      else if (heard_ports.is_known(from.port))
        return false;
    }
    move_to(from);
    return !only_port;
  }

  // Follows the peer to where its handshake message came from. Cookie replies never get here.
  void follow_handshake(const io::Endpoint& from) {
    heard_ports.begin(from.port);
    if (!endpoint.is(from)) move_to(from);
  }

 private:
  void move_to(const io::Endpoint& from) {
    endpoint.store(from);
    gso_refused.store(false, std::memory_order_relaxed);
  }
};

// The route behind a handle that the allowed IPs found.
inline const Route& route_of(protocol::PeerHandle handle) {
  return *static_cast<const Route*>(handle);
}

// The path behind a handle; null for null. In the index table and the keypairs stand only paths.
inline PeerPath* path_of(protocol::PeerHandle handle) {
  return static_cast<PeerPath*>(handle);
}

// A handshake message whose type and length are right and, if it has one, whose mac1 is.
struct HandshakeDatagram {
  io::Endpoint from;
  uint16_t local_port = 0;  // that it was sent to: what answers it leaves from there
  uint16_t length = 0;
  std::array<uint8_t, sizeof(protocol::HandshakeInitiation)> bytes;
};

// What a worker passes to the control thread: bounded rings, one wake-up for all of them, and what it counts of each
// peer. The worker pushes, the control thread pops.
struct Mailbox {
  // The kernel module's MAX_QUEUED_INCOMING_HANDSHAKES.
  static constexpr size_t kMaxHandshakes = 4096;
  static constexpr size_t kMaxAttention = 4096;

  explicit Mailbox(const io::Wakeup& control, size_t worker_number = 0)
      : control_wakeup(control), worker(worker_number) {}

  io::SpscRing<HandshakeDatagram> handshakes{kMaxHandshakes};
  io::SpscRing<uint64_t> attention{kMaxAttention};  // ids of peers with attention bits set
  std::atomic<bool> overflowed{false};              // an id did not fit: look at every peer
  PeerTrafficTable traffic;
  const io::Wakeup& control_wakeup;
  const size_t worker;  // whose it is, in the slot table
};

// Sets `bits` and tells the control thread, unless it knows already that this peer has news. Worker thread.
inline void ask_attention(Mailbox& mailbox, PeerPath& path, uint32_t bits) {
  if (path.attention.fetch_or(bits, std::memory_order_acq_rel) != 0) return;
  if (!mailbox.attention.try_push(path.id)) mailbox.overflowed.store(true, std::memory_order_release);
  // Also when the ring is full: the control thread may have emptied it just now and be about to sleep.
  mailbox.control_wakeup.notify();
}

}  // namespace culvert::pipeline
