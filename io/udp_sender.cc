#include "io/udp_sender.h"

#include <algorithm>
#include <cassert>
#include <cerrno>

namespace culvert::io {
namespace {

// Kernels before 6.9 take no more datagrams than this in one UDP_SEGMENT message (UDP_MAX_SEGMENTS).
constexpr uint16_t kOldMaxTrainDatagrams = 64;

// The longest payload of a UDP message: 65,535 less the headers that the IP length counts.
uint32_t max_payload_bytes(Family family) {
  return family == Family::v4 ? 65507 : 65527;
}

}  // namespace

void UdpSender::add_counters(OuterCounters& counters) const {
  counters.datagrams_sent += datagrams_sent_.get();
  counters.trains_sent += trains_sent_.get();
  counters.send_errors += send_errors_.get();
  counters.send_stalls += send_stalls_.get();
  counters.gso_downgrades += gso_downgrades_.get();
}

void UdpSender::send_batch(std::span<OutgoingTrain> trains) {
  trains_ = trains;
  waits_left_ = kMaxWaits;
  gso_refused_ = source_refused_ = {};
  bool has_family[2] = {false, false};
  for (OutgoingTrain& train : trains) {
    train.datagrams_sent = 0;
    train.gso_refused = train.source_refused = false;
    if (sockets_.fd(train.to.remote.family) < 0)
      send_errors_.add(train.datagrams);
    else
      has_family[train.to.remote.family == Family::v6] = true;
  }
  // An endpoint has one family, so its trains stay in order.
  for (const Family family : {Family::v4, Family::v6})
    if (has_family[family == Family::v6]) send_family(family);
  trains_ = {};
}

void UdpSender::send_family(Family family) {
  family_ = family;
  next_train_ = 0;
  next_datagram_ = 0;
  retried_ = false;
  while (const size_t count = compose_messages()) {
    const Transferred sent = transfer_.send(sockets_.fd(family), {messages_, count});
    for (size_t i = 0; i < sent.count; ++i) {
      advance(pieces_[i]);
      pieces_[i].train->datagrams_sent += pieces_[i].datagrams;
      datagrams_sent_.add(pieces_[i].datagrams);
    }
    trains_sent_.add(sent.count);
    // The rest is composed again, by what was learned of the message that failed.
    if (sent.error != 0) settle_failure(pieces_[sent.count], sent.error);
  }
}

// Fills the message headers from the first datagram that is not done. Returns how many; 0 when all is done.
size_t UdpSender::compose_messages() {
  size_t count = 0;
  uint16_t first = next_datagram_;
  for (size_t t = next_train_; t < trains_.size() && count < kMessages; ++t, first = 0) {
    OutgoingTrain& train = trains_[t];
    if (train.to.remote.family != family_) continue;
    assert(train.datagrams == 0 || (train.length <= train.segment_size * uint32_t{train.datagrams} &&
                                    train.length > train.segment_size * (train.datagrams - uint32_t{1})));
    train.gso_refused = train.gso_refused || train.to.same_remote(gso_refused_);
    train.source_refused = train.source_refused || train.to == source_refused_;
    const uint16_t limit = piece_limit(train);
    while (first < train.datagrams && count < kMessages) {
      const auto datagrams = std::min<uint16_t>(limit, train.datagrams - first);
      compose_message(count++, {&train, t, first, datagrams});
      first += datagrams;
    }
  }
  return count;
}

// How many datagrams of a train may go out as one message.
uint16_t UdpSender::piece_limit(const OutgoingTrain& train) const {
  if (!train.allow_gso || train.gso_refused || train.segment_size == 0) return 1;
  const uint32_t by_length = max_payload_bytes(train.to.remote.family) / train.segment_size;
  return static_cast<uint16_t>(std::clamp<uint32_t>(by_length, 1, sockets_.max_train_datagrams()));
}

void UdpSender::compose_message(size_t index, const Piece& piece) {
  const OutgoingTrain& train = *piece.train;
  const uint32_t begin = uint32_t{piece.first} * train.segment_size;
  const uint32_t end = std::min(train.length, begin + uint32_t{piece.datagrams} * train.segment_size);
  pieces_[index] = piece;
  parts_[index] = {const_cast<uint8_t*>(train.bytes) + begin, end - begin};
  msghdr& message = messages_[index].msg_hdr;
  message.msg_name = &addresses_[index];
  message.msg_namelen = to_socket_address(train.to.remote, train.to.port, train.to.scope_id, addresses_[index]);
  message.msg_iov = &parts_[index];
  message.msg_iovlen = 1;
  const bool use_source = !train.source_refused && has_usable_source(train.to);
  write_control(message, controls_[index], train.to, use_source, train.traffic_class,
                piece.datagrams > 1 ? train.segment_size : 0);
}

// Goes on behind `piece`.
void UdpSender::advance(const Piece& piece) {
  next_train_ = piece.train_index;
  next_datagram_ = static_cast<uint16_t>(piece.first + piece.datagrams);
  retried_ = false;
}

void UdpSender::drop(const Piece& piece) {
  send_errors_.add(piece.datagrams);
  advance(piece);
}

// Drops a train from `piece` on: its endpoint cannot be reached.
void UdpSender::drop_rest_of_train(const Piece& piece) {
  Piece rest = piece;
  rest.datagrams = static_cast<uint16_t>(piece.train->datagrams - piece.first);
  drop(rest);
}

// Decides what becomes of the message that was refused: it is left to be composed again, with less, or dropped. Ends,
// as every way back takes away the source or an offload, or uses up `retried`.
void UdpSender::settle_failure(const Piece& piece, int error) {
  OutgoingTrain& train = *piece.train;
  if (may_be_source_error(error)) {
    if (!train.source_refused && has_usable_source(train.to)) return refuse_source(train, error);
    if (train.source_refused && error == source_error_)
      restore_source(train);  // the same error without it: it was not to blame
  }
  switch (error) {
    case EINTR:
      return;
    case EAGAIN:
    case ENOBUFS:
      if (!wait_for_room()) {
        send_stalls_.add(piece.datagrams);
        drop(piece);
      }
      return;
    case EIO:
      if (piece.datagrams == 1) return drop_rest_of_train(piece);
      gso_downgrades_.add(sockets_.disable_gso() ? 1 : 0);
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
void UdpSender::settle_invalid(const Piece& piece) {
  if (piece.datagrams > kOldMaxTrainDatagrams)
    gso_downgrades_.add(sockets_.limit_train_datagrams(kOldMaxTrainDatagrams) ? 1 : 0);
  else if (piece.datagrams > 1)
    refuse_gso(*piece.train);
  else
    drop_rest_of_train(piece);
}

void UdpSender::refuse_source(OutgoingTrain& train, int error) {
  train.source_refused = true;
  source_refused_ = train.to;
  source_error_ = error;
}

// Takes refuse_source() back, also from the later trains that compose_messages() has told of it.
void UdpSender::restore_source(const OutgoingTrain& train) {
  const Endpoint to = train.to;
  for (OutgoingTrain& later : trains_.subspan(next_train_))
    later.source_refused = later.source_refused && later.to != to;
  source_refused_ = {};
}

void UdpSender::refuse_gso(OutgoingTrain& train) {
  train.gso_refused = true;
  gso_refused_ = train.to;
  gso_downgrades_.add(1);
}

// Waits for room in the socket buffer, once per message. False when there is no more waiting to do.
bool UdpSender::wait_for_room() {
  if (retried_ || waits_left_ == 0) return false;
  retried_ = true;
  --waits_left_;
  pollfd writable{.fd = sockets_.fd(family_), .events = POLLOUT, .revents = 0};
  if (sockets_.syscalls().poll(&writable, 1, kWaitMs) == 0) {
    waits_left_ = 0;  // nothing moves: the rest of the batch does not wait for it again
    return false;
  }
  return true;
}

}  // namespace culvert::io
