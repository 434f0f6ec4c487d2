// The inner side, where plain packets come from and go to: a queue of a TUN device, a port, a fake. One for each
// worker. io/lease.h has the rules of ownership. A few virtual calls a batch, none a packet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/counters.h"
#include "io/superpacket.h"

namespace culvert::io {

// What the inner side can take and give; probed at start by doing it.
struct InnerOffloads {
  bool tcp4 = false, tcp6 = false;  // superpackets of TCP, both directions
  bool udp4 = false, udp6 = false;  // superpackets of UDP, both directions
  bool checksum = false;            // packets with needs_checksum, both directions
  // Of a packet that is written. A longer chain never leaves an mlx5 port (DPDK bug 1367).
  uint16_t max_parts = 1000;
  bool joining_pays = true;  // false: a wire is behind it, where a superpacket is only cut again
};

enum class ReadOutcome : uint8_t { ok, down, gone };

// A batch of packets that were read, the reader's to write to until release().
struct PlainBatch {
  static constexpr size_t kMaxPackets = 64;

  uint32_t count = 0;
  bool more = false;         // the side has packets in its hands that come next: read on
  uint32_t left_behind = 0;  // as far as the side knows, packets that wait behind those with waited_us
  std::array<Superpacket, kMaxPackets> packets;
};

// All but the last two count packets, before cutting or after joining.
struct InnerCounters {
  Counter read_packets, read_bytes;
  Counter read_refused;  // too short, or of a GSO type that was never asked for
  Counter written_packets, written_bytes;
  Counter write_dropped;     // refused by the device, for whatever reason
  Counter write_down;        // of those: the interface was down
  Counter write_full;        // of those: no room
  Counter segmented_writes;  // superpackets that were cut because the device does not take them
  Counter offload_refusals;  // EINVAL for an offload: each ends it
};

inline constexpr auto kInnerCounters = std::to_array<CounterEntry<InnerCounters>>({
    {&InnerCounters::read_packets, "tun_read_packets_total", "Superpackets that the device handed over."},
    {&InnerCounters::read_bytes, "tun_read_bytes_total", "Bytes of these."},
    {&InnerCounters::read_refused,
     "tun_read_refused_total",
     "Reads that were no packet, or of an offload never asked for.",
     {},
     "read_refused"},
    {&InnerCounters::written_packets, "tun_written_packets_total", "Superpackets that the device took."},
    {&InnerCounters::written_bytes, "tun_written_bytes_total", "Bytes of these."},
    {&InnerCounters::write_dropped, "tun_write_dropped_total", "Superpackets that the device refused."},
    {&InnerCounters::write_down, "tun_write_down_total", "Of those refused: the interface was down."},
    {&InnerCounters::write_full, "tun_write_full_total", "Of those refused: there was no room."},
    {&InnerCounters::segmented_writes, "tun_segmented_writes_total", "Superpackets that were cut for the device."},
    {&InnerCounters::offload_refusals, "tun_offload_refusals_total", "Times that the device refused an offload."},
});
static_assert(describes_all(kInnerCounters), "a counter of InnerCounters has no line in the table");

// Thread safety: none; the owning worker alone calls it. offloads() and counters() may be called from any thread.
class InnerSide {
 public:
  virtual ~InnerSide() = default;

  // Reads what is there now, never waits. Each batch is released before the next is read. `gone`: the device was
  // deleted.
  virtual ReadOutcome read(PlainBatch& batch) = 0;

  // Takes back the memory of the batch and every lease that is still in it.
  virtual void release(PlainBatch& batch) = 0;

  // Writes every packet, in order, from where its parts lie; takes the leases that it can use. Returns how many were
  // accepted; a packet the device refuses is dropped and counted, and the rest goes on. An offload that the device
  // refuses is downgraded once (see offloads()).
  virtual size_t write(std::span<const GatheredPacket> packets) = 0;

  // What write() takes now; may shrink after a refusal.
  virtual InnerOffloads offloads() const = 0;

  virtual const InnerCounters& counters() const = 0;

  // Descriptors that are readable when a packet waits (level-triggered). Constant. None: poll me.
  virtual std::span<const int> poll_fds() const { return {}; }
};

}  // namespace culvert::io
