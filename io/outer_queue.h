// One queue of the outer side (UDP sockets or a port), owned by one worker. Its unit is the train: datagrams
// of one size to or from one endpoint, back to back in memory, the last one possibly shorter (udp(7),
// UDP_SEGMENT and UDP_GRO). One virtual call a batch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/endpoint.h"
#include "io/engine.h"

namespace culvert::io {

// The kernel cuts a longer train in software, datagram by datagram (Linux 6.18, loopback and veth: a frame of
// gso_max_size, 65536, is too long). 65493 for v4; v6 headers are 20 bytes longer.
inline constexpr size_t kMaxTrainBytes = 65473;
inline constexpr size_t kMaxTrainDatagrams = 128;

// A train to send. The caller owns `bytes` and keeps them until send_batch() returns.
struct OutgoingTrain {
  const uint8_t* bytes = nullptr;
  uint32_t length = 0;
  uint16_t segment_size = 0;  // bytes of every datagram but the last
  uint16_t datagrams = 0;
  Endpoint to;
  uint8_t traffic_class = 0;  // DSCP and ECN of the outer header
  bool allow_gso = true;      // false: the peer's path refused it before

  // Set by send_batch().
  uint16_t datagrams_sent = 0;
  bool gso_refused = false;     // the path refused GSO (EMSGSIZE): send this peer datagram by datagram from now on
  bool source_refused = false;  // the sticky source is no address of this host any more: forget it
};

// A train that was received. The memory is the queue's, and the receiver's to write to until the next
// receive_batch(); each train has `kReceiveTailroom` writable bytes behind its end.
struct IncomingTrain {
  uint8_t* bytes = nullptr;
  uint32_t length = 0;
  uint16_t segment_size = 0;  // bytes of every datagram but the last; length when there is one
  Endpoint from;              // source is the local address that it was sent to
  uint8_t traffic_class = 0;  // DSCP and ECN of the outer header
};

// Offload states and counts for metrics. Read from any thread, written by the owner; relaxed.
struct OuterCounters {
  uint64_t datagrams_sent = 0, datagrams_received = 0;
  uint64_t trains_sent = 0, trains_received = 0;
  uint64_t send_errors = 0;     // datagrams that were dropped: no route, not allowed, too long
  uint64_t send_stalls = 0;     // of these, datagrams for which the socket buffer had no room in time
  uint64_t receive_errors = 0;  // failed receives (ICMP errors and the like)
  uint64_t empty = 0;           // datagrams without a byte; dropped, no train has length 0
  uint64_t truncated = 0;       // datagrams longer than a buffer
  uint64_t gso_downgrades = 0;  // by EIO, EINVAL or EMSGSIZE
  bool gso_active = false, gro_active = false;
  Engine engine = Engine::automatic;  // in use; automatic: no queue, or one that has no say
};

// Thread safety: none; the owning worker alone calls it. counters() may be called from any thread.
class OuterQueue {
 public:
  virtual ~OuterQueue() = default;

  // Receives what is there now, never waits. Returns how many trains were filled in.
  virtual size_t receive_batch(std::span<IncomingTrain> trains) = 0;

  // Sends every train, in order, and fills in each one's result fields. What an offload refused is sent again
  // without it. Waits for room in the socket buffer only as long as sendmsg(2) does.
  virtual void send_batch(std::span<OutgoingTrain> trains) = 0;

  virtual OuterCounters counters() const = 0;

  // Descriptors that are readable when datagrams wait (level-triggered); -1 where there is none. All -1: the
  // queue has to be polled.
  virtual std::array<int, 2> poll_fds() const { return {-1, -1}; }

  static constexpr size_t kReceiveTailroom = 64;
};

}  // namespace culvert::io
