#include "io/udp_sender.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace culvert::io {
namespace {

// Kernels before 6.9 take no more datagrams than this in one UDP_SEGMENT message (UDP_MAX_SEGMENTS).
constexpr uint16_t kOldMaxTrainDatagrams = 64;

}  // namespace

UdpSender::UdpSender(UdpSockets& sockets, Transfer& transfer, OuterCounters& counters)
    : sockets_(sockets),
      transfer_(transfer),
      counters_(counters),
      queues_(2 * sockets.ports().size() + (sockets.is_wide() ? PortSenders::kMost : 0)) {
  if (sockets.is_wide()) senders_.emplace(sockets);
  used_.reserve(queues_.size());
}

void UdpSender::send(std::span<OutgoingTrain> trains, std::span<Destination> destinations) {
  trains_ = trains;
  destinations_ = destinations;
  waits_left_ = kMaxWaits;
  has_lost_ = false;
  sort_by_socket();
  for (Queue* const queue : used_) {
    send_queue(*queue);
    queue->has_trains = false;
  }
  used_.clear();
}

// Puts every train into the queue of its socket. A destination has one, so its trains stay in order.
void UdpSender::sort_by_socket() {
  if (senders_) senders_->begin_batch();
  for (size_t i = 0; i < destinations_.size(); ++i) {
    destinations_[i].segmentation_refused = destinations_[i].source_refused = false;
    queues_of_destinations_[i] = queue_of(destinations_[i].envelope);
  }
  for (size_t t = 0; t < trains_.size(); ++t) {
    Queue* const queue = queues_of_destinations_[trains_[t].destination];
    const auto train = static_cast<uint16_t>(t);
    behind_[t] = kNone;
    if (queue == nullptr) {
      drop({t, 0, trains_[t].datagrams});
    } else if (std::exchange(queue->has_trains, true)) {
      behind_[queue->last] = train;
      queue->last = train;
    } else {
      queue->first = queue->last = train;
      used_.push_back(queue);
    }
  }
}

// Null: there is no socket of the family.
UdpSender::Queue* UdpSender::queue_of(const Envelope& envelope) {
  const Family family = envelope.endpoint.remote.family;
  const size_t ports = sockets_.ports().size();
  size_t index = ports == 1 && !senders_ ? 0 : sockets_.index_of(envelope.local_port);
  if (index == ports && senders_ && envelope.local_port != 0 && sockets_.fd(family) >= 0) {
    if (const std::optional<size_t> slot = senders_->find(family, envelope.local_port)) {
      Queue& queue = queues_[2 * ports + *slot];
      queue.fd = senders_->fd(*slot);
      return &queue;
    }
  }
  if (index == ports) index = 0;
  const int fd = sockets_.fd(family, index);
  if (fd < 0) return nullptr;
  Queue& queue = queues_[UdpSockets::tag_of(family, index)];
  queue.fd = fd;
  queue.datagrams_sent = &sockets_.datagrams_sent(index);
  return &queue;
}

void UdpSender::send_queue(const Queue& queue) {
  fd_ = queue.fd;
  next_train_ = queue.first;
  next_datagram_ = 0;
  retried_ = false;
  while (const size_t count = compose_messages()) {
    const Transferred sent = transfer_.send(fd_, {messages_, count});
    uint64_t datagrams = 0;
    for (size_t i = 0; i < sent.count; ++i) {
      advance(pieces_[i]);
      datagrams += pieces_[i].datagrams;
    }
    counters_.datagrams_sent.add(datagrams);
    if (queue.datagrams_sent != nullptr) queue.datagrams_sent->add(datagrams);
    counters_.trains_sent.add(sent.count);
    // The rest is composed again, by what was learned of the message that failed.
    if (sent.error != 0) settle_failure(pieces_[sent.count], sent.error);
  }
}

// Fills the message headers from the first datagram that is not done. Returns how many; 0 when all is done.
size_t UdpSender::compose_messages() {
  size_t count = 0;
  uint16_t first = next_datagram_;
  for (size_t t = next_train_; t != kNone && count < kMessages; t = behind_[t], first = 0) {
    const OutgoingTrain& train = trains_[t];
    const uint16_t limit = piece_limit(destination_of(train));
    while (first < train.datagrams && count < kMessages) {
      const auto datagrams = std::min<uint16_t>(limit, train.datagrams - first);
      compose_message(count++, {t, first, datagrams});
      first += datagrams;
    }
  }
  return count;
}

// How many datagrams of a train may go out as one message.
uint16_t UdpSender::piece_limit(const Destination& to) const {
  return to.allow_segmentation && !to.segmentation_refused ? sockets_.max_train_datagrams() : uint16_t{1};
}

void UdpSender::compose_message(size_t index, const Piece& piece) {
  const OutgoingTrain& train = trains_[piece.train];
  const Destination& to = destination_of(train);
  const Endpoint& endpoint = to.envelope.endpoint;
  const uint32_t begin = uint32_t{piece.first} * train.segment_size;
  const uint32_t end = std::min(train.length, begin + uint32_t{piece.datagrams} * train.segment_size);
  pieces_[index] = piece;
  parts_[index] = {train.bytes + begin, end - begin};
  msghdr& message = messages_[index].msg_hdr;
  message.msg_name = &addresses_[index];
  message.msg_namelen = to_socket_address(endpoint.remote, endpoint.port, endpoint.scope_id, addresses_[index]);
  message.msg_iov = &parts_[index];
  message.msg_iovlen = 1;
  const bool use_source = !to.source_refused && has_usable_source(endpoint);
  write_control(message, controls_[index], endpoint, use_source, to.envelope.traffic_class,
                piece.datagrams > 1 ? train.segment_size : 0);
}

// Goes on behind `piece`.
void UdpSender::advance(const Piece& piece) {
  next_train_ = piece.train;
  next_datagram_ = static_cast<uint16_t>(piece.first + piece.datagrams);
  retried_ = false;
}

void UdpSender::drop(const Piece& piece) {
  counters_.send_errors.add(piece.datagrams);
  has_lost_ = true;
  for (uint16_t i = 0; i < piece.datagrams; ++i) trains_[piece.train].lost.set(size_t{piece.first} + i);
  advance(piece);
}

// Drops a train from `piece` on: its endpoint cannot be reached.
void UdpSender::drop_rest_of_train(const Piece& piece) {
  Piece rest = piece;
  rest.datagrams = static_cast<uint16_t>(trains_[piece.train].datagrams - piece.first);
  drop(rest);
}

// Decides what becomes of the message that was refused: it is left to be composed again, with less, or dropped. Ends,
// as every way back takes away the source or an offload, or uses up `retried`.
void UdpSender::settle_failure(const Piece& piece, int error) {
  Destination& to = destination_of(trains_[piece.train]);
  if (may_be_source_error(error)) {
    int& source_error = source_errors_[trains_[piece.train].destination];
    if (!to.source_refused && has_usable_source(to.envelope.endpoint)) {
      to.source_refused = true;
      source_error = error;
      return;
    }
    // The same error without it: it was not to blame.
    if (to.source_refused && error == source_error) to.source_refused = false;
  }
  switch (error) {
    case EINTR:
      return;
    case EAGAIN:
    case ENOBUFS:
      if (!wait_for_room()) {
        counters_.send_stalls.add(piece.datagrams);
        drop(piece);
      }
      return;
    case EIO:
      if (piece.datagrams == 1) return drop_rest_of_train(piece);
      counters_.gso_downgrades.add(sockets_.disable_gso() ? 1 : 0);
      return;
    case EMSGSIZE:
      return piece.datagrams == 1 ? drop(piece) : refuse_gso(to);
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
    counters_.gso_downgrades.add(sockets_.limit_train_datagrams(kOldMaxTrainDatagrams) ? 1 : 0);
  else if (piece.datagrams > 1)
    refuse_gso(destination_of(trains_[piece.train]));
  else
    drop_rest_of_train(piece);
}

void UdpSender::refuse_gso(Destination& to) {
  to.segmentation_refused = true;
  counters_.gso_downgrades.add(1);
}

// Waits for room in the socket buffer, once per message. False when there is no more waiting to do.
bool UdpSender::wait_for_room() {
  if (retried_ || waits_left_ == 0) return false;
  retried_ = true;
  --waits_left_;
  pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (sockets_.syscalls().poll(&writable, 1, kWaitMs) == 0) {
    waits_left_ = 0;  // nothing moves: the rest of the batch does not wait for it again
    return false;
  }
  return true;
}

}  // namespace culvert::io
