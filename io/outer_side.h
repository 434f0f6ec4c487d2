// The outer side, where datagrams come from and go to: UDP sockets, a port of a network card, a fake. One for each
// worker. io/lease.h has the rules of ownership. A few virtual calls a batch, none a datagram.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/counters.h"
#include "io/endpoint.h"
#include "io/engine.h"
#include "io/lease.h"

namespace culvert::io {

// What neighbouring datagrams share. Received: where they came from; endpoint.source and local_port are the address and
// the port of ours that they were sent to. Outgoing: where they go, and the address and port of ours to send from.
struct Envelope {
  Endpoint endpoint;
  uint16_t local_port = 0;    // host byte order; one of the ports of the side, or any where it listens wide
  uint8_t traffic_class = 0;  // DSCP and ECN of the outer header

  bool operator==(const Envelope&) const = default;
};

// One received datagram: the UDP payload in one piece, the receiver's to write to until release().
struct Datagram {
  Lease lease;
  uint8_t* bytes = nullptr;
  uint32_t length = 0;
  uint16_t envelope = 0;  // index into the batch's envelopes
};

// A batch of received datagrams, in order of arrival.
struct Received {
  static constexpr size_t kMaxDatagrams = 256;

  uint32_t count = 0, envelope_count = 0;
  bool more = false;  // there is more that no descriptor tells of: receive again before waiting
  std::array<Datagram, kMaxDatagrams> datagrams;
  std::array<Envelope, kMaxDatagrams> envelopes;
};

// Where datagrams of a batch go, and what the side learned about the way.
struct Destination {
  Envelope envelope;
  bool allow_segmentation = true;  // false: the path refused it before

  // Set by send().
  bool segmentation_refused = false;  // the path is narrower than a segment: allow it no more
  bool source_refused = false;        // the sticky source is no address of this host any more: forget it
};

// One datagram on its way out. The pipeline sets all but `bytes`, which lend() sets, and `lost`, which send() sets if
// the batch has lost any.
struct Outgoing {
  // From the first byte of transport data to the place where its packet is sealed.
  static constexpr size_t kPlainOffset = 16;
  // The largest UDP payload over IPv4, and the most that is sent over either family.
  static constexpr size_t kMaxBytes = 65507;

  uint8_t* bytes = nullptr;  // room for `length` bytes; null after lend(): there is no memory
  // The plain packet that this is sealed from, where it lies ready, and the claim on its memory. The side may take it
  // over: then bytes + kPlainOffset == plain, and it is sealed in place. Null: the pipeline writes the text itself.
  uint8_t* plain = nullptr;
  Lease* lease = nullptr;
  uint32_t length = 0;
  uint16_t destination = 0;  // index into the batch's destinations
  bool lost = false;         // it was not sent
};

// A batch of datagrams to send: all lengths and destinations are known before the first byte is written.
struct Sending {
  // Ten trains of 64 KiB and a bit: what is read in one batch most often leaves in one.
  static constexpr size_t kMaxDatagrams = 512;
  static constexpr size_t kMaxDestinations = 256;
  static constexpr size_t kMaxBytes = 640 * 1024;

  uint32_t count = 0, destination_count = 0;
  uint32_t lost = 0;  // set by send(): how many were not sent
  std::array<Outgoing, kMaxDatagrams> datagrams;
  std::array<Destination, kMaxDestinations> destinations;

  void clear() { count = destination_count = lost = 0; }
};

static_assert(sizeof(Datagram) == 32 && sizeof(Outgoing) == 32 && sizeof(Envelope) <= 48);

struct OuterCounters {
  Counter datagrams_sent, datagrams_received;
  Counter trains_sent, trains_received;
  Counter send_errors;     // datagrams that were lost: no route, not allowed, too long
  Counter send_stalls;     // of these, datagrams for which there was no room in time
  Counter receive_errors;  // failed receives (ICMP errors and the like)
  Counter empty;           // datagrams without a byte; dropped
  Counter truncated;       // datagrams longer than a buffer; dropped
  Counter gso_downgrades;  // by EIO, EINVAL or EMSGSIZE
};

inline constexpr auto kOuterCounters = std::to_array<CounterEntry<OuterCounters>>({
    {&OuterCounters::datagrams_sent, "datagrams_sent_total", "Datagrams sent."},
    {&OuterCounters::datagrams_received, "datagrams_received_total", "Datagrams received."},
    {&OuterCounters::trains_sent, "trains_sent_total", "Sends of one or more datagrams."},
    {&OuterCounters::trains_received, "trains_received_total", "Receives of one or more datagrams."},
    {&OuterCounters::send_errors, "send_errors_total", "Datagrams that the kernel did not send."},
    {&OuterCounters::send_stalls, "send_stalls_total", "Datagrams for which there was no room in time."},
    {&OuterCounters::receive_errors, "receive_errors_total", "Receives that failed."},
    {&OuterCounters::empty, "empty_total", "Datagrams without a byte.", {}, "empty_datagram"},
    {&OuterCounters::truncated, "truncated_total", "Datagrams longer than a receive buffer.", {}, "truncated_datagram"},
    {&OuterCounters::gso_downgrades, "gso_downgrades_total", "Times that UDP_SEGMENT was refused."},
});
static_assert(describes_all(kOuterCounters), "a counter of OuterCounters has no line in the table");

// What is in use.
struct OuterState {
  bool gso_active = false, gro_active = false;
  Engine engine = Engine::automatic;  // automatic: no side, or one that has no say
};

// Thread safety: none; the owning worker alone calls it. counters() and state() may be called from any
// thread.
class OuterSide {
 public:
  virtual ~OuterSide() = default;

  // Receives what is there now, never waits. Each batch is released before the next is received.
  virtual void receive(Received& batch) = 0;

  // Takes back the memory of the batch and every lease that is still in it.
  virtual void release(Received& batch) = 0;

  // Lends memory for the whole batch.
  virtual void lend(Sending& batch) = 0;

  // Sends what was lent and tells of each datagram and destination what became of it. What an offload refused is sent
  // again without it. Waits for room only as long as a bounded number of milliseconds.
  virtual void send(Sending& batch) = 0;

  // The ports of ours to send from; the first is the base port. Constant. None: the side knows no ports.
  virtual std::span<const uint16_t> local_ports() const { return {}; }

  virtual const OuterCounters& counters() const = 0;
  virtual OuterState state() const { return {}; }

  // Descriptors that are readable when datagrams wait (level-triggered). Constant. None: poll me.
  virtual std::span<const int> poll_fds() const { return {}; }
};

}  // namespace culvert::io
