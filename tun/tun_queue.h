// One queue of a TUN device: batches of superpackets in and out, by read and writev or by io_uring.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "io/fd.h"
#include "io/inner_side.h"
#include "io/transfer.h"
#include "tun/lanes.h"
#include "tun/vnet_header.h"

namespace culvert::tun {

// Thread safety: one worker owns it; counters() and offloads() may be called from any thread.
// All memory is allocated by the constructor: kReadSlots superpackets and the scratch for cutting, 1.3 MiB.
class TunQueue : public io::InnerSide {
 public:
  static constexpr size_t kReadSlots = 16;
  // read() stops once it has read this much: what was read has to leave before the next superpacket.
  static constexpr size_t kReadBudgetBytes = 256 * 1024;
  static constexpr size_t kMaxPacketBytes = 65535;

  // Takes a non-blocking descriptor. `vnet_header`: whether every packet on it has a virtio_net_hdr. `transfer`: how
  // packets are moved, null for a PacketTransfer of `syscalls`.
  TunQueue(io::Fd fd, bool vnet_header, const io::InnerOffloads& offloads,
           const io::Syscalls& syscalls = io::kernel_syscalls(), std::unique_ptr<io::Transfer> transfer = nullptr);

  // From now on the queue is that of bulk flows, and `sparse` is read before it. What both count, this one counts.
  // Before anybody uses it. `shared` outlives it; null: there is no lane for it, and `sparse` gets nothing.
  void pair_with(std::unique_ptr<TunQueue> sparse, lane* shared);

  io::ReadOutcome read(io::PlainBatch& batch) override;
  void release(io::PlainBatch& batch) override { batch.count = 0; }
  size_t write(std::span<const io::GatheredPacket> packets) override;
  io::InnerOffloads offloads() const override;
  const io::InnerCounters& counters() const override { return *counters_; }
  std::span<const int> poll_fds() const override { return {poll_fds_, sparse_ != nullptr ? 2U : 1U}; }

  int fd() const { return fd_.get(); }
  bool has_vnet_header() const { return vnet_header_; }
  io::Engine engine() const { return transfer_->engine(); }

 private:
  // Bits of offload_bits_.
  enum OffloadBit : uint8_t { kTcp4 = 1, kTcp6 = 2, kUdp4 = 4, kUdp6 = 8, kChecksum = 16 };
  // Where one packet is read. The virtio header ends where the packet starts, on a cache line; the size is no
  // power of two, so that the headers of all slots do not fall into the same cache sets.
  struct alignas(64) Slot {
    uint8_t before[64];
    uint8_t packet[kMaxPacketBytes + 1 + 64];
  };
  enum class WriteOutcome : uint8_t { taken, dropped, refused, stop };
  static constexpr size_t kWrites = 32;  // messages of one send
  static constexpr size_t kIovecs = 2048;

  io::ReadOutcome append(io::PlainBatch& batch);
  io::ReadOutcome read_both(io::PlainBatch& batch);
  io::ReadOutcome append_bulk(io::PlainBatch& batch);
  void hand_on_kept(io::PlainBatch& batch);

  static uint8_t bit_of(const io::Offload& offload, bool v6);
  static uint8_t needed_bits(const io::GatheredPacket& packet);
  bool takes_whole(const io::GatheredPacket& packet) const;
  bool add_message(const io::GatheredPacket& packet);
  size_t add_messages(std::span<const io::GatheredPacket> packets);
  std::span<const WriteOutcome> send_messages();
  WriteOutcome outcome_of(int error);
  bool wait_for_room();
  bool refuse_offload(const io::GatheredPacket& packet);
  WriteOutcome write_segments(const io::GatheredPacket& packet);
  void account(const io::GatheredPacket& packet, WriteOutcome outcome);

  const io::Fd fd_;
  int poll_fds_[2];  // the second one is that of sparse_
  const bool vnet_header_;
  const io::Syscalls& syscalls_;
  const std::unique_ptr<io::Transfer> transfer_;
  const std::unique_ptr<Slot[]> slots_;
  const std::unique_ptr<uint8_t[]> whole_;     // a gathered packet in one piece, for cutting
  const std::unique_ptr<uint8_t[]> segments_;  // some of its segments
  std::array<iovec, kReadSlots> read_parts_;
  std::array<mmsghdr, kReadSlots> read_messages_{};

  // What is to be sent, and what became of it.
  size_t messages_ = 0, iovecs_used_ = 0;
  std::array<mmsghdr, kWrites> write_messages_{};
  std::array<uint32_t, kWrites> write_bytes_;
  std::array<WriteOutcome, kWrites> outcomes_;
  std::array<std::array<uint8_t, kVnetHeaderBytes>, kWrites> headers_;
  std::vector<iovec> iovecs_;
  bool waited_ = false;  // this batch has waited for room already
  // Relaxed everywhere: it tells of no other memory. The owner alone writes it.
  std::atomic<uint8_t> offload_bits_;
  io::InnerCounters own_counters_;
  io::InnerCounters* counters_ = &own_counters_;

  // With a queue of sparse flows.
  std::unique_ptr<TunQueue> sparse_;
  std::optional<LaneReader> lane_;
  bool bulk_came_ = false;     // with the last read of this queue
  bool bulk_skipped_ = false;  // by the last read of both
  // Packets of this queue that those of the sparse one go before, which are still looked for; and how many of these
  // there can be.
  std::array<io::Superpacket, kReadSlots> kept_;
  size_t kept_count_ = 0, patience_ = 0;
};

}  // namespace culvert::tun
