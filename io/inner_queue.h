// One queue of the inner side (TUN or a port), owned by one worker. One virtual call a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "io/superpacket.h"

namespace culvert::io {

// What the inner side can take and give; probed at start by doing it.
struct InnerOffloads {
  bool tcp4 = false, tcp6 = false;  // superpackets of TCP, both directions
  bool udp4 = false, udp6 = false;  // superpackets of UDP, both directions
  bool checksum = false;            // packets with needs_checksum, both directions
};

enum class ReadOutcome : uint8_t { ok, down, gone };

// Thread safety: none; the owning worker alone calls it. counters() may be read from any thread.
class InnerQueue {
 public:
  virtual ~InnerQueue() = default;

  // Readable when a packet waits (level-triggered), or -1 if it has to be polled.
  virtual int poll_fd() const = 0;

  // Reads what is there now, never waits. Sets `count` and fills packets[0..count): they are the caller's
  // until the next read_batch(), and each has `kReadTailroom` writable bytes behind its end. `gone`: the
  // device was deleted.
  virtual ReadOutcome read_batch(std::span<Superpacket> packets, size_t& count) = 0;

  // Writes every packet, in order. Returns how many were taken; a packet the device refuses is dropped and
  // counted, and the rest goes on. An offload that the device refuses is downgraded once (see offloads()).
  virtual size_t write_batch(std::span<const GatheredPacket> packets) = 0;

  // What write_batch() takes now; may shrink after a refusal.
  virtual InnerOffloads offloads() const = 0;

  static constexpr size_t kReadTailroom = 64;
};

}  // namespace culvert::io
