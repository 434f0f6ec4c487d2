#include "io/udp_queue.h"

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "io/udp_message.h"

namespace culvert::io {
namespace {

constexpr size_t kReceiveStride = 65536 + OuterQueue::kReceiveTailroom;
static_assert(kReceiveStride >= UdpQueue::kReceiveBufferBytes + OuterQueue::kReceiveTailroom);

// Messages per sendmmsg call.
constexpr size_t kSendMessages = 64;

// Kernels before 6.9 take no more datagrams than this in one UDP_SEGMENT message (UDP_MAX_SEGMENTS).
constexpr uint16_t kOldMaxTrainDatagrams = 64;

// How many pending socket errors one receive clears away before it gives up.
constexpr int kReceiveErrorRetries = 4;

// The longest payload of a UDP message: 65,535 less the headers that the IP length counts.
uint32_t max_payload_bytes(Family family) {
  return family == Family::v4 ? 65507 : 65527;
}

// One writer; read from any thread, each count by itself, so relaxed without a partner.
class Count {
 public:
  void add(uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace

// `datagrams` datagrams of a train, from `first` on, that go out as one message.
struct UdpQueue::Piece {
  OutgoingTrain* train;
  size_t train_index;
  uint16_t first;
  uint16_t datagrams;
};

struct UdpQueue::Counters {
  Count datagrams_sent, datagrams_received, trains_sent, trains_received;
  Count send_errors, send_stalls, receive_errors, empty, truncated, gso_downgrades;
};

struct UdpQueue::ReceiveState {
  std::unique_ptr<uint8_t[]> memory =
      std::make_unique_for_overwrite<uint8_t[]>(kReceiveBuffers * kReceiveStride);
  mmsghdr messages[kReceiveBuffers]{};
  iovec parts[kReceiveBuffers]{};
  SocketAddress addresses[kReceiveBuffers]{};
  ControlBuffer controls[kReceiveBuffers];
  Family first = Family::v4;  // whose turn it is to come first

  ReceiveState() {
    for (size_t i = 0; i < kReceiveBuffers; ++i) {
      parts[i] = {memory.get() + i * kReceiveStride, kReceiveBufferBytes};
      messages[i].msg_hdr.msg_name = &addresses[i];
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = controls[i].bytes;
    }
  }
};

struct UdpQueue::SendState {
  mmsghdr messages[kSendMessages]{};
  iovec parts[kSendMessages]{};
  SocketAddress addresses[kSendMessages]{};
  ControlBuffer controls[kSendMessages];
  Piece pieces[kSendMessages]{};

  // Of the batch that is being sent.
  std::span<OutgoingTrain> trains;
  Family family = Family::none;
  size_t next_train = 0;       // the first train that is not done
  uint16_t next_datagram = 0;  // and the first of its datagrams
  bool retried = false;        // the message that is next has failed for lack of room before
  int waits_left = 0;
  // What the batch has learned of endpoints, so that their later trains are not refused one by one.
  Endpoint gso_refused, source_refused;
  int source_error = 0;  // what the source was refused with
};

UdpQueue::UdpQueue(UdpSockets& sockets)
    : sockets_(sockets),
      receive_(std::make_unique<ReceiveState>()),
      send_(std::make_unique<SendState>()),
      counters_(std::make_unique<Counters>()) {}

UdpQueue::~UdpQueue() = default;

std::array<int, 2> UdpQueue::poll_fds() const {
  return {sockets_.fd(Family::v4), sockets_.fd(Family::v6)};
}

OuterCounters UdpQueue::counters() const {
  const Counters& c = *counters_;
  return {.datagrams_sent = c.datagrams_sent.get(),
          .datagrams_received = c.datagrams_received.get(),
          .trains_sent = c.trains_sent.get(),
          .trains_received = c.trains_received.get(),
          .send_errors = c.send_errors.get(),
          .send_stalls = c.send_stalls.get(),
          .receive_errors = c.receive_errors.get(),
          .empty = c.empty.get(),
          .truncated = c.truncated.get(),
          .gso_downgrades = c.gso_downgrades.get(),
          .gso_active = sockets_.gso_active(),
          .gro_active = sockets_.gro_active()};
}

// --- receiving ---

size_t UdpQueue::receive_batch(std::span<IncomingTrain> trains) {
  const Family first = receive_->first;
  const Family second = first == Family::v4 ? Family::v6 : Family::v4;
  receive_->first = second;
  size_t buffers_used = 0, count = 0;
  for (const Family family : {first, second}) {
    const size_t room = std::min(kReceiveBuffers - buffers_used, trains.size() - count);
    const size_t got = receive_messages(sockets_.fd(family), buffers_used, room);
    for (size_t i = buffers_used; i < buffers_used + got; ++i) {
      count += take_message(i, trains[count]) ? 1 : 0;
    }
    buffers_used += got;
  }
  return count;
}

// Receives up to `room` messages into the buffers from `first` on. Returns how many.
size_t UdpQueue::receive_messages(int fd, size_t first, size_t room) {
  if (fd < 0 || room == 0) {
    return 0;
  }
  for (size_t i = first; i < first + room; ++i) {
    receive_->messages[i].msg_hdr.msg_namelen = sizeof(SocketAddress);
    receive_->messages[i].msg_hdr.msg_controllen = kControlBytes;
  }
  for (int errors = 0; errors <= kReceiveErrorRetries;) {
    const int got = sockets_.syscalls().recvmmsg(fd, &receive_->messages[first], static_cast<unsigned>(room),
                                                 MSG_DONTWAIT, nullptr);
    if (got >= 0) {
      return static_cast<size_t>(got);
    }
    if (errno == EAGAIN) {
      return 0;
    }
    if (errno !=
        EINTR) {  // a pending error of the socket, cleared by being reported; what waits comes after it
      counters_->receive_errors.add(1);
      ++errors;
    }
  }
  return 0;
}

// Fills in `train` from receive buffer `index`. False when its datagram is dropped.
bool UdpQueue::take_message(size_t index, IncomingTrain& train) {
  const mmsghdr& message = receive_->messages[index];
  if (message.msg_len == 0) {
    counters_->empty.add(1);
    return false;
  }
  // Without all of its control messages a train cannot be told from a datagram.
  if ((message.msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    counters_->truncated.add(1);
    return false;
  }
  train.bytes = static_cast<uint8_t*>(receive_->parts[index].iov_base);
  train.length = message.msg_len;
  train.from = remote_of(receive_->addresses[index]);
  read_control(message.msg_hdr, train);
  if (train.segment_size == 0 || train.segment_size > train.length) {
    train.segment_size = static_cast<uint16_t>(train.length);
  }
  counters_->trains_received.add(1);
  counters_->datagrams_received.add((train.length + train.segment_size - 1) / train.segment_size);
  return true;
}

// --- sending ---

void UdpQueue::send_batch(std::span<OutgoingTrain> trains) {
  SendState& s = *send_;
  s.trains = trains;
  s.waits_left = kMaxSendWaits;
  s.gso_refused = s.source_refused = {};
  bool has_family[2] = {false, false};
  for (OutgoingTrain& train : trains) {
    train.datagrams_sent = 0;
    train.gso_refused = train.source_refused = false;
    if (sockets_.fd(train.to.remote.family) < 0) {
      counters_->send_errors.add(train.datagrams);
    } else {
      has_family[train.to.remote.family == Family::v6] = true;
    }
  }
  // An endpoint has one family, so its trains stay in order.
  for (const Family family : {Family::v4, Family::v6}) {
    if (has_family[family == Family::v6]) {
      send_family(family);
    }
  }
  s.trains = {};
}

void UdpQueue::send_family(Family family) {
  SendState& s = *send_;
  s.family = family;
  s.next_train = 0;
  s.next_datagram = 0;
  s.retried = false;
  while (const size_t count = compose_messages()) {
    const int sent = sockets_.syscalls().sendmmsg(sockets_.fd(family), s.messages,
                                                  static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0) {
      settle_failure(s.pieces[0], sent < 0 ? errno : EAGAIN);
      continue;
    }
    // After a part of the messages the rest is composed again: the next call tells what was wrong with the
    // first.
    for (int i = 0; i < sent; ++i) {
      advance(s.pieces[i]);
      s.pieces[i].train->datagrams_sent += s.pieces[i].datagrams;
      counters_->datagrams_sent.add(s.pieces[i].datagrams);
    }
    counters_->trains_sent.add(static_cast<uint64_t>(sent));
  }
}

// Fills the message headers from the first datagram that is not done. Returns how many; 0 when all is done.
size_t UdpQueue::compose_messages() {
  SendState& s = *send_;
  size_t count = 0;
  uint16_t first = s.next_datagram;
  for (size_t t = s.next_train; t < s.trains.size() && count < kSendMessages; ++t, first = 0) {
    OutgoingTrain& train = s.trains[t];
    if (train.to.remote.family != s.family) {
      continue;
    }
    assert(train.datagrams == 0 || (train.length <= train.segment_size * uint32_t{train.datagrams} &&
                                    train.length > train.segment_size * (train.datagrams - uint32_t{1})));
    train.gso_refused = train.gso_refused || train.to.same_remote(s.gso_refused);
    train.source_refused = train.source_refused || train.to == s.source_refused;
    const uint16_t limit = piece_limit(train);
    while (first < train.datagrams && count < kSendMessages) {
      const auto datagrams = std::min<uint16_t>(limit, train.datagrams - first);
      compose_message(count++, {&train, t, first, datagrams});
      first += datagrams;
    }
  }
  return count;
}

// How many datagrams of a train may go out as one message.
uint16_t UdpQueue::piece_limit(const OutgoingTrain& train) const {
  if (!train.allow_gso || train.gso_refused || train.segment_size == 0) {
    return 1;
  }
  const uint32_t by_length = max_payload_bytes(train.to.remote.family) / train.segment_size;
  return static_cast<uint16_t>(std::clamp<uint32_t>(by_length, 1, sockets_.max_train_datagrams()));
}

void UdpQueue::compose_message(size_t index, const Piece& piece) {
  SendState& s = *send_;
  const OutgoingTrain& train = *piece.train;
  const uint32_t begin = uint32_t{piece.first} * train.segment_size;
  const uint32_t end = std::min(train.length, begin + uint32_t{piece.datagrams} * train.segment_size);
  s.pieces[index] = piece;
  s.parts[index] = {const_cast<uint8_t*>(train.bytes) + begin, end - begin};
  msghdr& message = s.messages[index].msg_hdr;
  message.msg_name = &s.addresses[index];
  message.msg_namelen =
      to_socket_address(train.to.remote, train.to.port, train.to.scope_id, s.addresses[index]);
  message.msg_iov = &s.parts[index];
  message.msg_iovlen = 1;
  const bool use_source = !train.source_refused && has_usable_source(train.to);
  write_control(message, s.controls[index], train.to, use_source, train.traffic_class,
                piece.datagrams > 1 ? train.segment_size : 0);
}

// Goes on behind `piece`.
void UdpQueue::advance(const Piece& piece) {
  send_->next_train = piece.train_index;
  send_->next_datagram = static_cast<uint16_t>(piece.first + piece.datagrams);
  send_->retried = false;
}

void UdpQueue::drop(const Piece& piece) {
  counters_->send_errors.add(piece.datagrams);
  advance(piece);
}

// Drops a train from `piece` on: its endpoint cannot be reached.
void UdpQueue::drop_rest_of_train(const Piece& piece) {
  Piece rest = piece;
  rest.datagrams = static_cast<uint16_t>(piece.train->datagrams - piece.first);
  drop(rest);
}

// Decides what becomes of the message that was refused: it is left to be composed again, with less, or dropped. Ends,
// as every way back takes away the source or an offload, or uses up `retried`.
void UdpQueue::settle_failure(const Piece& piece, int error) {
  OutgoingTrain& train = *piece.train;
  if (may_be_source_error(error)) {
    if (!train.source_refused && has_usable_source(train.to)) {
      return refuse_source(train, error);
    }
    if (train.source_refused && error == send_->source_error) {
      restore_source(train);  // the same error without it: it was not to blame
    }
  }
  switch (error) {
    case EINTR:
      return;
    case EAGAIN:
    case ENOBUFS:
      if (!wait_for_room()) {
        counters_->send_stalls.add(piece.datagrams);
        drop(piece);
      }
      return;
    case EIO:
      if (piece.datagrams == 1) {
        return drop_rest_of_train(piece);
      }
      counters_->gso_downgrades.add(sockets_.disable_gso() ? 1 : 0);
      return;
    case EMSGSIZE:
      return piece.datagrams == 1 ? drop(piece) : refuse_gso(train);
    case EINVAL:
      return settle_invalid(piece);
    default:
      return drop_rest_of_train(piece);
  }
}

// EINVAL that is not about the source: more datagrams than the kernel takes (before 6.9), or a segment size above the
// path MTU (EMSGSIZE from 6.14 on).
void UdpQueue::settle_invalid(const Piece& piece) {
  if (piece.datagrams > kOldMaxTrainDatagrams) {
    counters_->gso_downgrades.add(sockets_.limit_train_datagrams(kOldMaxTrainDatagrams) ? 1 : 0);
  } else if (piece.datagrams > 1) {
    refuse_gso(*piece.train);
  } else {
    drop_rest_of_train(piece);
  }
}

void UdpQueue::refuse_source(OutgoingTrain& train, int error) {
  train.source_refused = true;
  send_->source_refused = train.to;
  send_->source_error = error;
}

// Takes refuse_source() back, also from the later trains that compose_messages() has told of it.
void UdpQueue::restore_source(const OutgoingTrain& train) {
  const Endpoint to = train.to;
  for (OutgoingTrain& later : send_->trains.subspan(send_->next_train)) {
    later.source_refused = later.source_refused && later.to != to;
  }
  send_->source_refused = {};
}

void UdpQueue::refuse_gso(OutgoingTrain& train) {
  train.gso_refused = true;
  send_->gso_refused = train.to;
  counters_->gso_downgrades.add(1);
}

// Waits for room in the socket buffer, once per message. False when there is no more waiting to do.
bool UdpQueue::wait_for_room() {
  SendState& s = *send_;
  if (s.retried || s.waits_left == 0) {
    return false;
  }
  s.retried = true;
  --s.waits_left;
  pollfd writable{.fd = sockets_.fd(s.family), .events = POLLOUT, .revents = 0};
  if (sockets_.syscalls().poll(&writable, 1, kSendWaitMs) == 0) {
    s.waits_left = 0;  // nothing moves: the rest of the batch does not wait for it again
    return false;
  }
  return true;
}

}  // namespace culvert::io
