// What workers pass to the control thread: bounded rings, and one wake-up for all of them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "io/endpoint.h"
#include "io/spsc_ring.h"
#include "io/wakeup.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {

// A handshake message whose type and length are right and, if it has one, whose mac1 is.
struct HandshakeDatagram {
  io::Endpoint from;
  uint16_t local_port = 0;  // that it was sent to: what answers it leaves from there
  uint16_t length = 0;
  std::array<uint8_t, sizeof(protocol::HandshakeInitiation)> bytes;
};

// Thread safety: one worker pushes, the control thread pops.
struct Mailbox {
  // The kernel module's MAX_QUEUED_INCOMING_HANDSHAKES.
  static constexpr size_t kMaxHandshakes = 4096;
  static constexpr size_t kMaxAttention = 4096;

  explicit Mailbox(const io::Wakeup& control) : control_wakeup(control) {}

  io::SpscRing<HandshakeDatagram> handshakes{kMaxHandshakes};
  io::SpscRing<uint64_t> attention{kMaxAttention};  // ids of peers with attention bits set
  std::atomic<bool> overflowed{false};              // an id did not fit: look at every peer
  const io::Wakeup& control_wakeup;
};

}  // namespace culvert::pipeline
