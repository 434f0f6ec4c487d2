// One queue of a TUN device: batches of superpackets in and out by read and writev.
#pragma once

#include <poll.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/fd.h"
#include "io/inner_queue.h"

namespace culvert::tun {

// The system calls of a queue as a table, so that tests can make each one fail; errno as in the manual.
struct TunSyscalls {
  ssize_t (*read)(int fd, void* bytes, size_t length);
  ssize_t (*writev)(int fd, const iovec* parts, int count);
  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms);
};
const TunSyscalls& kernel_tun_syscalls();

// What a queue has seen since it was made. All but the last two count packets, before cutting or after
// joining.
struct TunCounters {
  uint64_t read_packets = 0, read_bytes = 0;
  uint64_t read_refused = 0;  // too short, or of a GSO type that we never asked for
  uint64_t written_packets = 0, written_bytes = 0;
  uint64_t write_dropped = 0;     // refused by the device, for whatever reason
  uint64_t write_down = 0;        // of those: the interface was down
  uint64_t write_full = 0;        // of those: no room
  uint64_t segmented_writes = 0;  // superpackets that were cut because the device does not take them
  uint64_t offload_refusals = 0;  // EINVAL for an offload: each ends it
};

// Thread safety: one worker owns it; counters() and offloads() may be called from any thread.
// All memory is allocated by the constructor: kReadSlots superpackets and the scratch for cutting, 1.2 MiB.
class TunQueue : public io::InnerQueue {
 public:
  static constexpr size_t kReadSlots = 16;
  // read_batch() stops once it has read this much: what was read has to leave before the next superpacket.
  static constexpr size_t kReadBudgetBytes = 256 * 1024;
  static constexpr size_t kMaxPacketBytes = 65535;

  // Takes a non-blocking descriptor. `vnet_header`: whether every packet on it has a virtio_net_hdr.
  TunQueue(io::Fd fd, bool vnet_header, const io::InnerOffloads& offloads,
           const TunSyscalls& syscalls = kernel_tun_syscalls());

  int poll_fd() const override { return fd_.get(); }
  io::ReadOutcome read_batch(std::span<io::Superpacket> packets, size_t& count) override;
  size_t write_batch(std::span<const io::GatheredPacket> packets) override;
  io::InnerOffloads offloads() const override;

  TunCounters counters() const;
  bool has_vnet_header() const { return vnet_header_; }

 private:
  enum Counter : uint8_t {
    kReadPackets,
    kReadBytes,
    kReadRefused,
    kWrittenPackets,
    kWrittenBytes,
    kWriteDropped,
    kWriteDown,
    kWriteFull,
    kSegmentedWrites,
    kOffloadRefusals,
    kCounters
  };
  // Bits of offload_bits_.
  enum OffloadBit : uint8_t { kTcp4 = 1, kTcp6 = 2, kUdp4 = 4, kUdp6 = 8, kChecksum = 16 };
  // Where one packet is read. The virtio header ends where the packet starts, on a cache line; the size is no
  // power of two, so that the headers of all slots do not fall into the same cache sets.
  struct alignas(64) Slot {
    uint8_t before[64];
    uint8_t packet[kMaxPacketBytes + 1 + kReadTailroom];
  };
  enum class WriteOutcome : uint8_t { taken, dropped, refused, stop };

  static uint8_t bit_of(const io::Offload& offload, bool v6);
  void count_up(Counter counter, uint64_t by = 1);
  WriteOutcome write_packet(const io::GatheredPacket& packet);
  WriteOutcome write_whole(const io::GatheredPacket& packet, bool v6);
  WriteOutcome write_segments(const io::GatheredPacket& packet);
  WriteOutcome writev_once(const iovec* parts, int count, size_t bytes);

  const io::Fd fd_;
  const bool vnet_header_;
  const TunSyscalls& syscalls_;
  const std::unique_ptr<Slot[]> slots_;
  const std::unique_ptr<uint8_t[]> whole_;    // a gathered packet in one piece, for cutting
  const std::unique_ptr<uint8_t[]> segment_;  // one segment of it
  std::vector<iovec> iovecs_;
  bool waited_ = false;  // this batch has waited for room already
  // Relaxed everywhere: they tell of no other memory. The owner alone writes them.
  std::atomic<uint8_t> offload_bits_;
  std::array<std::atomic<uint64_t>, kCounters> counters_{};
};

}  // namespace culvert::tun
