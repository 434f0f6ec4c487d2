#include "io/udp_receiver.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace culvert::io {
namespace {

constexpr size_t kStride = 65536 + OuterQueue::kReceiveTailroom;
static_assert(kStride >= UdpReceiver::kBufferBytes + OuterQueue::kReceiveTailroom);

// How many pending socket errors one receive clears away before it gives up.
constexpr int kErrorRetries = 4;

}  // namespace

UdpReceiver::UdpReceiver(const UdpSockets& sockets, Transfer& transfer)
    : sockets_(sockets), transfer_(transfer), memory_(std::make_unique_for_overwrite<uint8_t[]>(kBuffers * kStride)) {
  for (size_t i = 0; i < kBuffers; ++i) {
    parts_[i] = {memory_.get() + i * kStride, kBufferBytes};
    messages_[i].msg_hdr.msg_name = &addresses_[i];
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
    messages_[i].msg_hdr.msg_control = controls_[i].bytes;
  }
}

void UdpReceiver::add_counters(OuterCounters& counters) const {
  counters.datagrams_received += datagrams_received_.get();
  counters.trains_received += trains_received_.get();
  counters.receive_errors += receive_errors_.get();
  counters.truncated += truncated_.get();
  counters.empty += empty_.get();
}

size_t UdpReceiver::receive_batch(std::span<IncomingTrain> trains) {
  const Family other = busy_family_ == Family::v4 ? Family::v6 : Family::v4;
  const bool others_turn = ++batches_ % kOthersTurn == 0;
  for (const Family family : {others_turn ? other : busy_family_, others_turn ? busy_family_ : other}) {
    const size_t got = receive_messages(sockets_.fd(family), std::min(kBuffers, trains.size()));
    if (got == 0) continue;
    busy_family_ = family;
    size_t count = 0;
    for (const mmsghdr& message : std::span(messages_).first(got))
      count += take_message(message, trains[count]) ? 1 : 0;
    return count;
  }
  return 0;
}

// Receives up to `room` messages. Returns how many.
size_t UdpReceiver::receive_messages(int fd, size_t room) {
  if (fd < 0 || room == 0) return 0;
  for (mmsghdr& message : std::span(messages_).first(room)) {
    message.msg_hdr.msg_namelen = sizeof(SocketAddress);
    message.msg_hdr.msg_controllen = kControlBytes;
  }
  for (int errors = 0; errors <= kErrorRetries;) {
    const Transferred got = transfer_.receive(fd, {messages_, room}, SIZE_MAX);
    // A pending error of the socket is cleared by being reported; what waits comes after it.
    const bool failed = got.error != 0 && got.error != EINTR;
    receive_errors_.add(failed ? 1 : 0);
    errors += failed ? 1 : 0;
    if (got.count != 0 || got.error == 0) return got.count;
  }
  return 0;
}

// Fills in `train` from a received message. False when its datagram is dropped.
bool UdpReceiver::take_message(const mmsghdr& message, IncomingTrain& train) {
  if (message.msg_len == 0) {
    empty_.add(1);
    return false;
  }
  // Without all of its control messages a train cannot be told from a datagram.
  if ((message.msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    truncated_.add(1);
    return false;
  }
  train.bytes = static_cast<uint8_t*>(message.msg_hdr.msg_iov->iov_base);
  train.length = message.msg_len;
  train.from = remote_of(*static_cast<const SocketAddress*>(message.msg_hdr.msg_name));
  read_control(message.msg_hdr, train);
  if (train.segment_size == 0 || train.segment_size > train.length)
    train.segment_size = static_cast<uint16_t>(train.length);
  trains_received_.add(1);
  datagrams_received_.add((train.length + train.segment_size - 1) / train.segment_size);
  return true;
}

}  // namespace culvert::io
