// Handshake messages, cookie replies and keepalives on their way from the control thread to the wire: a bounded ring to
// a worker, which is the only one with an outer side.
#pragma once

#include <array>
#include <cstdint>

#include "io/endpoint.h"
#include "io/outer_side.h"
#include "io/spsc_ring.h"
#include "src/pipeline/shared_state.h"
#include "src/pipeline/stats.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {

// One datagram of the control thread's, ready to leave.
struct ControlDatagram {
  // Whose endpoint it goes to as it is by then, and whose traffic it counts as; null: it goes to `to`.
  PeerPath* path = nullptr;
  io::Endpoint to{};
  uint16_t local_port = 0;  // to send from
  uint8_t traffic_class = 0;
  uint16_t length = 0;
  std::array<uint8_t, sizeof(protocol::HandshakeInitiation)> bytes{};
};

// Thread safety: push() and room() are the control thread's, send() is the worker's.
class ControlOutbox {
 public:
  static constexpr size_t kMaxDatagrams = 1024;

  // `stats` and `traffic` are those of the worker that sends.
  ControlOutbox(WorkerStats& stats, PeerTrafficTable& traffic) : stats_(stats), traffic_(traffic) {}

  // False when the ring is full: the datagram is dropped and counted. Its path stays alive until the worker has sent
  // what was pushed.
  [[nodiscard]] bool push(const ControlDatagram& datagram);

  // How many can be pushed now.
  size_t room() const { return ring_.room(); }

  // Sends what was pushed before; without an outer side it is dropped.
  void send(io::OuterSide* outer);

 private:
  void add(const ControlDatagram& datagram);
  void send_batch(io::OuterSide& outer);

  io::SpscRing<ControlDatagram> ring_{kMaxDatagrams};
  WorkerStats& stats_;
  PeerTrafficTable& traffic_;

  // The worker's: a batch, and what each of its datagrams was made of.
  io::Sending sending_;
  std::array<ControlDatagram, io::Sending::kMaxDestinations> datagrams_;
};

}  // namespace culvert::pipeline
