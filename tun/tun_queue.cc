#include "tun/tun_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tun/segment.h"
#include "tun/vnet_header.h"

namespace culvert::tun {
namespace {

constexpr size_t kMaxIovecs = 1024;  // UIO_MAXIOV

// How long a batch waits, once, for a queue that says it is full. With TUN's default send buffer (INT_MAX) it
// never does.
constexpr int kFullWaitMs = 1;

}  // namespace

const TunSyscalls& kernel_tun_syscalls() {
  static constexpr TunSyscalls kSyscalls = {::read, ::writev, ::poll};
  return kSyscalls;
}

TunQueue::TunQueue(io::Fd fd, bool vnet_header, const io::InnerOffloads& offloads,
                   const TunSyscalls& syscalls)
    : fd_(std::move(fd)),
      vnet_header_(vnet_header),
      syscalls_(syscalls),
      slots_(new Slot[kReadSlots]),
      whole_(new uint8_t[kMaxPacketBytes]),
      segment_(new uint8_t[kMaxPacketBytes]),
      iovecs_(kMaxIovecs),
      offload_bits_(0) {
  uint8_t bits = 0;
  if (vnet_header) {
    bits = static_cast<uint8_t>((offloads.tcp4 ? kTcp4 : 0) | (offloads.tcp6 ? kTcp6 : 0) |
                                (offloads.udp4 ? kUdp4 : 0) | (offloads.udp6 ? kUdp6 : 0) |
                                (offloads.checksum ? kChecksum : 0));
  }
  offload_bits_.store(bits, std::memory_order_relaxed);
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

TunCounters TunQueue::counters() const {
  const auto get = [this](Counter counter) { return counters_[counter].load(std::memory_order_relaxed); };
  TunCounters counters;
  counters.read_packets = get(kReadPackets);
  counters.read_bytes = get(kReadBytes);
  counters.read_refused = get(kReadRefused);
  counters.written_packets = get(kWrittenPackets);
  counters.written_bytes = get(kWrittenBytes);
  counters.write_dropped = get(kWriteDropped);
  counters.write_down = get(kWriteDown);
  counters.write_full = get(kWriteFull);
  counters.segmented_writes = get(kSegmentedWrites);
  counters.offload_refusals = get(kOffloadRefusals);
  return counters;
}

// One writer: a load and a store do, without the price of an atomic addition.
void TunQueue::count_up(Counter counter, uint64_t by) {
  counters_[counter].store(counters_[counter].load(std::memory_order_relaxed) + by,
                           std::memory_order_relaxed);
}

io::ReadOutcome TunQueue::read_batch(std::span<io::Superpacket> packets, size_t& count) {
  count = 0;
  const size_t header = vnet_header_ ? kVnetHeaderBytes : 0;
  size_t bytes_read = 0;
  // Refused packets take no slot, so they are bounded apart: nobody can keep the worker here.
  size_t refused = 0;
  while (count < std::min(packets.size(), kReadSlots) && bytes_read < kReadBudgetBytes &&
         refused < kReadSlots) {
    uint8_t* const bytes = slots_[count].packet;
    const ssize_t got = syscalls_.read(fd_.get(), bytes - header, header + kMaxPacketBytes + 1);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      if (count != 0) break;  // the next call says it again
      if (errno == EIO) return io::ReadOutcome::down;
      if (errno == EBADFD || errno == EBADF || errno == ENODEV || errno == ENXIO)
        return io::ReadOutcome::gone;
      break;
    }
    io::Superpacket packet;
    packet.bytes = bytes;
    packet.length = static_cast<uint32_t>(static_cast<size_t>(got) - std::min<size_t>(got, header));
    if (packet.length == 0 || packet.length > kMaxPacketBytes ||
        (vnet_header_ && !decode_vnet_header(bytes - header, packet.offload))) {
      count_up(kReadRefused);
      ++refused;
      continue;
    }
    bytes_read += packet.length;
    packets[count++] = packet;
  }
  count_up(kReadPackets, count);
  count_up(kReadBytes, bytes_read);
  return io::ReadOutcome::ok;
}

size_t TunQueue::write_batch(std::span<const io::GatheredPacket> packets) {
  size_t taken = 0;
  waited_ = false;
  for (size_t i = 0; i < packets.size(); ++i) {
    const WriteOutcome outcome = write_packet(packets[i]);
    if (outcome == WriteOutcome::taken) {
      ++taken;
      count_up(kWrittenPackets);
      count_up(kWrittenBytes, packets[i].length);
      continue;
    }
    count_up(kWriteDropped);
    if (outcome == WriteOutcome::stop) {
      count_up(kWriteDropped, packets.size() - i - 1);
      count_up(kWriteDown, packets.size() - i);
      break;
    }
  }
  return taken;
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

TunQueue::WriteOutcome TunQueue::write_packet(const io::GatheredPacket& packet) {
  if (packet.parts.empty() || packet.parts.size() >= kMaxIovecs || packet.parts[0].iov_len == 0 ||
      packet.length > kMaxPacketBytes) {
    return WriteOutcome::dropped;
  }
  const bool v6 = *static_cast<const uint8_t*>(packet.parts[0].iov_base) >> 4 == 6;
  const uint8_t needed = bit_of(packet.offload, v6);
  const uint8_t bits = offload_bits_.load(std::memory_order_relaxed);
  if ((bits & needed) == needed) {
    const WriteOutcome outcome = write_whole(packet, v6);
    if (outcome != WriteOutcome::refused) return outcome;
    if (needed == 0) return WriteOutcome::dropped;
    // Some LTS kernels refuse superpackets although they offered to take them.
    count_up(kOffloadRefusals);
    offload_bits_.store(static_cast<uint8_t>(bits & ~needed), std::memory_order_relaxed);
  }
  return write_segments(packet);
}

TunQueue::WriteOutcome TunQueue::write_whole(const io::GatheredPacket& packet, bool v6) {
  if (!vnet_header_) {
    return writev_once(packet.parts.data(), static_cast<int>(packet.parts.size()), packet.length);
  }
  uint8_t header[kVnetHeaderBytes];
  encode_vnet_header(packet.offload, v6, header);
  iovecs_[0] = {header, kVnetHeaderBytes};
  std::copy(packet.parts.begin(), packet.parts.end(), iovecs_.begin() + 1);
  return writev_once(iovecs_.data(), static_cast<int>(packet.parts.size() + 1),
                     kVnetHeaderBytes + packet.length);
}

TunQueue::WriteOutcome TunQueue::write_segments(const io::GatheredPacket& packet) {
  io::Superpacket whole;
  whole.bytes = whole_.get();
  whole.offload = packet.offload;
  for (const iovec& part : packet.parts) {
    if (whole.length + part.iov_len > kMaxPacketBytes) return WriteOutcome::dropped;
    std::memcpy(whole.bytes + whole.length, part.iov_base, part.iov_len);
    whole.length += static_cast<uint32_t>(part.iov_len);
  }
  SegmentPlan plan;
  if (plan.plan(whole) != SegmentError::none) return WriteOutcome::dropped;
  count_up(kSegmentedWrites);
  WriteOutcome outcome = WriteOutcome::taken;
  for (uint32_t i = 0; i < plan.count(); ++i) {
    plan.write(i, segment_.get());
    const iovec part{segment_.get(), plan.length(i)};
    io::GatheredPacket segment;
    segment.parts = {&part, 1};
    segment.length = plan.length(i);
    const WriteOutcome one = write_whole(segment, false);
    if (one == WriteOutcome::stop) return one;
    if (one != WriteOutcome::taken) outcome = WriteOutcome::dropped;
  }
  return outcome;
}

TunQueue::WriteOutcome TunQueue::writev_once(const iovec* parts, int count, size_t bytes) {
  for (;;) {
    const ssize_t written = syscalls_.writev(fd_.get(), parts, count);
    if (written >= 0) {
      return static_cast<size_t>(written) == bytes ? WriteOutcome::taken : WriteOutcome::dropped;
    }
    switch (errno) {
      case EINTR:
        continue;
      case EINVAL:
        return WriteOutcome::refused;
      case EIO:     // the interface is down
      case EBADFD:  // deleted
        return WriteOutcome::stop;
      case EAGAIN: {
        pollfd writable{fd_.get(), POLLOUT, 0};
        if (!waited_) {
          waited_ = true;
          if (syscalls_.poll(&writable, 1, kFullWaitMs) > 0) continue;
        }
        [[fallthrough]];
      }
      case ENOBUFS:
      case ENOMEM:
        count_up(kWriteFull);
        return WriteOutcome::dropped;
      default:
        return WriteOutcome::dropped;
    }
  }
}

}  // namespace culvert::tun
