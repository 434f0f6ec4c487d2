#include "tun/tun_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/packet/segment.h"
#include "tun/vnet_header.h"

namespace culvert::tun {
namespace {

constexpr size_t kMaxIovecs = 1024;  // UIO_MAXIOV
constexpr size_t kSegmentsBytes = 65536;

// How long a batch waits, once, for a queue that says it is full. With TUN's default send buffer (INT_MAX) it
// never does.
constexpr int kFullWaitMs = 1;

bool is_writable(const io::GatheredPacket& packet) {
  return !packet.parts.empty() && packet.parts.size() < kMaxIovecs && packet.parts[0].iov_len != 0 &&
         packet.length <= TunQueue::kMaxPacketBytes;
}

bool is_v6(const io::GatheredPacket& packet) {
  return *static_cast<const uint8_t*>(packet.parts[0].iov_base) >> 4 == 6;
}

}  // namespace

TunQueue::TunQueue(io::Fd fd, bool vnet_header, const io::InnerOffloads& offloads, const io::Syscalls& syscalls,
                   std::unique_ptr<io::Transfer> transfer)
    : fd_(std::move(fd)),
      poll_fds_{fd_.get(), -1},
      vnet_header_(vnet_header),
      syscalls_(syscalls),
      transfer_(transfer != nullptr ? std::move(transfer) : std::make_unique<io::PacketTransfer>(syscalls)),
      slots_(new Slot[kReadSlots]),
      whole_(new uint8_t[kMaxPacketBytes]),
      segments_(new uint8_t[kSegmentsBytes]),
      iovecs_(kIovecs),
      offload_bits_(0) {
  uint8_t bits = 0;
  if (vnet_header) {
    bits =
        static_cast<uint8_t>((offloads.tcp4 ? kTcp4 : 0) | (offloads.tcp6 ? kTcp6 : 0) | (offloads.udp4 ? kUdp4 : 0) |
                             (offloads.udp6 ? kUdp6 : 0) | (offloads.checksum ? kChecksum : 0));
  }
  offload_bits_.store(bits, std::memory_order_relaxed);
  const size_t header = vnet_header ? kVnetHeaderBytes : 0;
  for (size_t i = 0; i < kReadSlots; ++i) {
    // One byte more than a packet may have, to see it when it is longer.
    read_parts_[i] = {slots_[i].before + sizeof slots_[i].before - header, header + kMaxPacketBytes + 1};
    read_messages_[i].msg_hdr.msg_iov = &read_parts_[i];
    read_messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

io::InnerOffloads TunQueue::offloads() const {
  const uint8_t bits = offload_bits_.load(std::memory_order_relaxed);
  io::InnerOffloads offloads;
  offloads.tcp4 = (bits & kTcp4) != 0;
  offloads.tcp6 = (bits & kTcp6) != 0;
  offloads.udp4 = (bits & kUdp4) != 0;
  offloads.udp6 = (bits & kUdp6) != 0;
  offloads.checksum = (bits & kChecksum) != 0;
  return offloads;
}

io::ReadOutcome TunQueue::read(io::PlainBatch& batch) {
  batch.count = 0;
  return sparse_ == nullptr ? append(batch) : read_both(batch);
}

// Adds what is there now.
io::ReadOutcome TunQueue::append(io::PlainBatch& batch) {
  const size_t header = vnet_header_ ? kVnetHeaderBytes : 0;
  const std::span<mmsghdr> slots(read_messages_);
  const io::Transferred got = transfer_->receive(fd_.get(), slots, kReadBudgetBytes);
  const uint32_t count_before = batch.count;
  uint64_t bytes_read = 0;
  for (const mmsghdr& message : slots.first(got.count)) {
    uint8_t* const before = static_cast<uint8_t*>(message.msg_hdr.msg_iov->iov_base);
    io::Superpacket packet;
    packet.bytes = before + header;
    packet.length = static_cast<uint32_t>(message.msg_len - std::min<size_t>(message.msg_len, header));
    if (packet.length == 0 || packet.length > kMaxPacketBytes ||
        (vnet_header_ && !decode_vnet_header(before, packet.offload))) {
      counters_->read_refused.add(1);
      continue;
    }
    bytes_read += packet.length;
    batch.packets[batch.count++] = packet;
  }
  counters_->read_packets.add(batch.count - count_before);
  counters_->read_bytes.add(bytes_read);
  if (got.count != 0) return io::ReadOutcome::ok;  // an error comes again with the next call
  switch (got.error) {
    case EIO:
      return io::ReadOutcome::down;
    case EBADFD:
    case EBADF:
    case ENODEV:
    case ENXIO:
      return io::ReadOutcome::gone;
    default:
      return io::ReadOutcome::ok;
  }
}

size_t TunQueue::write(std::span<const io::GatheredPacket> packets) {
  const uint64_t written_before = counters_->written_packets.get();
  waited_ = false;
  size_t next = 0;
  WriteOutcome last = WriteOutcome::taken;
  while (next < packets.size() && last != WriteOutcome::stop) {
    if (add_messages(packets.subspan(next)) == 0) {
      last = write_segments(packets[next]);
      account(packets[next++], last);
      continue;
    }
    for (const WriteOutcome outcome : send_messages()) {
      last = outcome;
      // What an offload was refused for is next again, and will be cut.
      if (outcome == WriteOutcome::refused && refuse_offload(packets[next])) break;
      account(packets[next++], outcome);
    }
  }
  if (last == WriteOutcome::stop) {
    counters_->write_dropped.add(packets.size() - next);
    counters_->write_down.add(packets.size() - next + 1);
  }
  return counters_->written_packets.get() - written_before;
}

void TunQueue::account(const io::GatheredPacket& packet, WriteOutcome outcome) {
  if (outcome != WriteOutcome::taken) return counters_->write_dropped.add(1);
  counters_->written_packets.add(1);
  counters_->written_bytes.add(packet.length);
}

uint8_t TunQueue::bit_of(const io::Offload& offload, bool v6) {
  switch (offload.gso) {
    case io::GsoType::tcp:
      return v6 ? kTcp6 : kTcp4;
    case io::GsoType::udp:
      return v6 ? kUdp6 : kUdp4;
    case io::GsoType::none:
      break;
  }
  return offload.needs_checksum ? kChecksum : 0;
}

// What the device has to do for the packet; nothing without virtio header.
uint8_t TunQueue::needed_bits(const io::GatheredPacket& packet) {
  return bit_of(packet.offload, is_v6(packet));
}

// Whether the packet goes out as it is; it has parts.
bool TunQueue::takes_whole(const io::GatheredPacket& packet) const {
  const uint8_t needed = needed_bits(packet);
  return (offload_bits_.load(std::memory_order_relaxed) & needed) == needed;
}

// Adds a packet, virtio header and all, to what is sent next. False when there is no room.
bool TunQueue::add_message(const io::GatheredPacket& packet) {
  const size_t header = vnet_header_ ? 1 : 0;
  if (messages_ == kWrites || iovecs_used_ + header + packet.parts.size() > kIovecs) return false;
  iovec* const parts = &iovecs_[iovecs_used_];
  write_bytes_[messages_] = packet.length;
  if (vnet_header_) {
    uint8_t* const bytes = headers_[messages_].data();
    encode_vnet_header(packet.offload, is_v6(packet), bytes);
    parts[0] = {bytes, kVnetHeaderBytes};
    write_bytes_[messages_] += kVnetHeaderBytes;
  }
  std::copy(packet.parts.begin(), packet.parts.end(), parts + header);
  msghdr& message = write_messages_[messages_].msg_hdr;
  message.msg_iov = parts;
  message.msg_iovlen = header + packet.parts.size();
  iovecs_used_ += message.msg_iovlen;
  ++messages_;
  return true;
}

// Adds packets from the front up to one that has to be cut, or cannot be written. Returns how many.
size_t TunQueue::add_messages(std::span<const io::GatheredPacket> packets) {
  for (const io::GatheredPacket& packet : packets)
    if (!is_writable(packet) || !takes_whole(packet) || !add_message(packet)) break;
  return messages_;
}

// Sends what was added, and forgets it. Returns what became of the messages, up to one that was refused or ends it all.
std::span<const TunQueue::WriteOutcome> TunQueue::send_messages() {
  size_t settled = 0;
  bool over = false;
  while (settled < messages_ && !over) {
    const io::Transferred sent =
        transfer_->send(fd_.get(), std::span(write_messages_).subspan(settled, messages_ - settled));
    for (const size_t end = settled + sent.count; settled < end; ++settled) {
      const bool whole = write_messages_[settled].msg_len == write_bytes_[settled];
      outcomes_[settled] = whole ? WriteOutcome::taken : WriteOutcome::dropped;
    }
    if (sent.error == 0 || sent.error == EINTR || (sent.error == EAGAIN && wait_for_room())) continue;
    const WriteOutcome outcome = outcome_of(sent.error);
    outcomes_[settled++] = outcome;
    over = outcome == WriteOutcome::refused || outcome == WriteOutcome::stop;
  }
  messages_ = iovecs_used_ = 0;
  return std::span(outcomes_).first(settled);
}

TunQueue::WriteOutcome TunQueue::outcome_of(int error) {
  switch (error) {
    case EINVAL:
      return WriteOutcome::refused;
    case EIO:     // the interface is down
    case EBADFD:  // deleted
      return WriteOutcome::stop;
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      counters_->write_full.add(1);
      return WriteOutcome::dropped;
    default:
      return WriteOutcome::dropped;
  }
}

// Once per batch. False when there is no more waiting to do.
bool TunQueue::wait_for_room() {
  if (waited_) return false;
  waited_ = true;
  pollfd writable{fd_.get(), POLLOUT, 0};
  return syscalls_.poll(&writable, 1, kFullWaitMs) > 0;
}

// Some LTS kernels refuse superpackets although they offered to take them. False if the packet needs no offload.
bool TunQueue::refuse_offload(const io::GatheredPacket& packet) {
  const uint8_t needed = needed_bits(packet);
  if (needed == 0) return false;
  counters_->offload_refusals.add(1);
  const uint8_t bits = offload_bits_.load(std::memory_order_relaxed);
  offload_bits_.store(static_cast<uint8_t>(bits & ~needed), std::memory_order_relaxed);
  return true;
}

TunQueue::WriteOutcome TunQueue::write_segments(const io::GatheredPacket& packet) {
  if (!is_writable(packet)) return WriteOutcome::dropped;
  io::Superpacket whole;
  whole.bytes = whole_.get();
  whole.offload = packet.offload;
  for (const iovec& part : packet.parts) {
    if (whole.length + part.iov_len > kMaxPacketBytes) return WriteOutcome::dropped;
    std::memcpy(whole.bytes + whole.length, part.iov_base, part.iov_len);
    whole.length += static_cast<uint32_t>(part.iov_len);
  }
  packet::SegmentPlan plan;
  if (plan.plan(whole) != packet::SegmentError::none) return WriteOutcome::dropped;
  counters_->segmented_writes.add(1);
  WriteOutcome worst = WriteOutcome::taken;
  for (uint32_t first = 0; first < plan.count();) {
    uint32_t used = 0;
    for (uint32_t i = first; i < plan.count() && used + plan.length(i) <= kSegmentsBytes; ++i) {
      const iovec part{segments_.get() + used, plan.length(i)};
      io::GatheredPacket segment;
      segment.parts = {&part, 1};
      segment.length = plan.length(i);
      plan.write(i, segments_.get() + used);
      if (!add_message(segment)) break;
      used += plan.length(i);
    }
    for (const WriteOutcome outcome : send_messages()) {
      if (outcome == WriteOutcome::stop) return outcome;
      worst = outcome == WriteOutcome::taken ? worst : WriteOutcome::dropped;
      ++first;
    }
  }
  return worst;
}

}  // namespace culvert::tun
