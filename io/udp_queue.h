// The outer side on UDP sockets: trains go out by sendmmsg with UDP_SEGMENT and come in by recvmmsg with UDP_GRO.
#pragma once

#include "io/outer_queue.h"
#include "io/udp_receiver.h"
#include "io/udp_sender.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: as OuterQueue. Several queues may share one UdpSockets, which must outlive them.
class UdpQueue final : public OuterQueue {
 public:
  // Allocates all of its memory: the receive buffers, 8 of 64 KiB; the headers of a batch of messages are part of it.
  explicit UdpQueue(UdpSockets& sockets) : sockets_(sockets), receiver_(sockets), sender_(sockets) {}

  size_t receive_batch(std::span<IncomingTrain> trains) override { return receiver_.receive_batch(trains); }
  void send_batch(std::span<OutgoingTrain> trains) override { sender_.send_batch(trains); }
  OuterCounters counters() const override;
  std::array<int, 2> poll_fds() const override;

 private:
  const UdpSockets& sockets_;
  UdpReceiver receiver_;
  UdpSender sender_;
};

}  // namespace culvert::io
