#include "io/udp_side.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

#include "io/uring/ring_transfer.h"

namespace culvert::io {
namespace {

// No power of two, so that the starts of all buffers do not fall into the same cache sets.
constexpr size_t kStride = 65536 + 64;
static_assert(kStride >= UdpSide::kBufferBytes + kTailroom);

// How many pending socket errors one receive clears away before it gives up.
constexpr int kErrorRetries = 4;

// How many ready sockets one look finds; epoll has others come first at the next.
constexpr size_t kMostReady = 64;

}  // namespace

std::unique_ptr<UdpSide> UdpSide::make(UdpSockets& sockets, Engine engine) {
  if (chosen_engine(engine) == Engine::io_uring) {
    if (auto ring = Ring::open()) {
      return std::make_unique<UdpSide>(sockets,
                                       std::make_unique<RingTransfer>(std::move(*ring), RingTransfer::For::sockets));
    }
  }
  return std::make_unique<UdpSide>(sockets);
}

UdpSide::UdpSide(UdpSockets& sockets, std::unique_ptr<Transfer> transfer)
    : sockets_(sockets),
      transfer_(std::move(transfer)),
      sender_(sockets, *transfer_, counters_),
      memory_(std::make_unique_for_overwrite<uint8_t[]>(kBuffers * kStride)) {
  if (Poller* const poller = sockets.poller()) {
    fds_[fd_count_++] = poller->fd();
    events_.resize(std::min(kMostReady, 2 * sockets.ports().size()));
  } else {
    for (const Family family : {Family::v4, Family::v6})
      if (const int fd = sockets.fd(family); fd >= 0) fds_[fd_count_++] = fd;
  }
  for (size_t i = 0; i < kBuffers; ++i) {
    parts_[i] = {memory_.get() + i * kStride, kBufferBytes};
    messages_[i].msg_hdr.msg_name = &addresses_[i];
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
    messages_[i].msg_hdr.msg_control = controls_[i].bytes;
  }
}

OuterState UdpSide::state() const {
  return {sockets_.gso_active(), sockets_.gro_active(), transfer_->engine()};
}

void UdpSide::receive(Received& batch) {
  batch.count = batch.envelope_count = 0;
  const bool has_rest = train_.next < train_.length || next_message_ < message_count_;
  if (!has_rest) receive_messages();
  hand_out(batch);
  batch.more = train_.next < train_.length || next_message_ < message_count_;
}

// Hands out datagrams until the batch is full, one envelope for each run.
void UdpSide::hand_out(Received& batch) {
  while (batch.count < Received::kMaxDatagrams) {
    if (train_.next >= train_.length && (next_message_ == message_count_ || !take_message(next_message_++))) {
      if (next_message_ == message_count_) return;
      continue;
    }
    if (batch.envelope_count == 0 || batch.envelopes[batch.envelope_count - 1] != train_.envelope)
      batch.envelopes[batch.envelope_count++] = train_.envelope;
    const auto envelope = static_cast<uint16_t>(batch.envelope_count - 1);
    while (train_.next < train_.length && batch.count < Received::kMaxDatagrams) {
      Datagram& datagram = batch.datagrams[batch.count++];
      datagram.lease = {};
      datagram.bytes = train_.bytes + train_.next;
      datagram.length = std::min(train_.segment_size, train_.length - train_.next);
      datagram.envelope = envelope;
      train_.next += datagram.length;
    }
  }
}

void UdpSide::receive_messages() {
  next_message_ = message_count_ = 0;
  if (Poller* const poller = sockets_.poller()) return receive_from_ready(*poller);
  const Family other = busy_family_ == Family::v4 ? Family::v6 : Family::v4;
  const bool others_turn = ++calls_ % kOthersTurn == 0;
  for (const Family family : {others_turn ? other : busy_family_, others_turn ? busy_family_ : other}) {
    message_count_ = receive_from(family, 0);
    if (message_count_ == 0) continue;
    busy_family_ = family;
    return;
  }
}

// From each ready socket in turn, as long as there are buffers. Who is left over has its turn at the next call.
void UdpSide::receive_from_ready(Poller& poller) {
  bool looked = false;
  while (message_count_ < kBuffers) {
    if (ready_.empty()) {
      if (std::exchange(looked, true)) return;
      ready_ = poller.wait(events_, std::chrono::nanoseconds(0));
      if (ready_.empty()) return;
    }
    const uint64_t tag = ready_.front().tag;
    ready_ = ready_.subspan(1);
    message_count_ += receive_from(UdpSockets::family_of_tag(tag), UdpSockets::port_index_of_tag(tag));
  }
}

// Into the buffers behind message_count_. Returns how many messages were received.
size_t UdpSide::receive_from(Family family, size_t port_index) {
  const int fd = sockets_.fd(family, port_index);
  if (fd < 0) return 0;
  const std::span<mmsghdr> room = std::span(messages_).subspan(message_count_);
  for (mmsghdr& message : room) {
    message.msg_hdr.msg_namelen = sizeof(SocketAddress);
    message.msg_hdr.msg_controllen = kControlBytes;
  }
  for (int errors = 0; errors <= kErrorRetries;) {
    const Transferred got = transfer_->receive(fd, room, SIZE_MAX);
    // A pending error of the socket is cleared by being reported; what waits comes after it.
    const bool failed = got.error != 0 && got.error != EINTR;
    counters_.receive_errors.add(failed ? 1 : 0);
    errors += failed ? 1 : 0;
    if (got.count == 0 && got.error != 0) continue;
    std::fill_n(local_ports_ + message_count_, got.count, sockets_.ports()[port_index]);
    return got.count;
  }
  return 0;
}

// Makes train_ of a received message. False when its datagram is dropped.
bool UdpSide::take_message(size_t index) {
  const mmsghdr& message = messages_[index];
  if (message.msg_len == 0) {
    counters_.empty.add(1);
    return false;
  }
  // Without all of its control messages a train cannot be told from a datagram.
  if ((message.msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    counters_.truncated.add(1);
    return false;
  }
  const ReceivedControl control = read_control(message.msg_hdr);
  train_.bytes = static_cast<uint8_t*>(message.msg_hdr.msg_iov->iov_base);
  train_.length = message.msg_len;
  train_.next = 0;
  train_.segment_size = control.segment_size;
  if (control.segment_size == 0 || control.segment_size > train_.length) train_.segment_size = train_.length;
  train_.envelope.endpoint = remote_of(*static_cast<const SocketAddress*>(message.msg_hdr.msg_name));
  train_.envelope.endpoint.source = control.local;
  train_.envelope.local_port = control.local_port != 0 ? control.local_port : local_ports_[index];
  train_.envelope.traffic_class = control.traffic_class;
  counters_.trains_received.add(1);
  counters_.datagrams_received.add((train_.length + train_.segment_size - 1) / train_.segment_size);
  return true;
}

void UdpSide::send(Sending& batch) {
  batch.lost = 0;
  sender_.send(layout_.trains(), {batch.destinations.data(), batch.destination_count});
  if (sender_.has_lost()) layout_.report_lost(batch);
}

}  // namespace culvert::io
