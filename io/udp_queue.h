// The outer side on UDP sockets: trains go out with UDP_SEGMENT and come in with UDP_GRO, in batches by sendmmsg and
// recvmmsg or by io_uring.
#pragma once

#include <memory>

#include "io/outer_queue.h"
#include "io/socket_transfer.h"
#include "io/transfer.h"
#include "io/udp_receiver.h"
#include "io/udp_sender.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: as OuterQueue. Several queues may share one UdpSockets, which must outlive them.
class UdpQueue final : public OuterQueue {
 public:
  // Allocates all of its memory: the receive buffers, 8 of 64 KiB; the headers of a batch of messages are part of it.
  explicit UdpQueue(UdpSockets& sockets) : UdpQueue(sockets, std::make_unique<SocketTransfer>(sockets.syscalls())) {}
  // With another way to move messages.
  UdpQueue(UdpSockets& sockets, std::unique_ptr<Transfer> transfer)
      : sockets_(sockets),
        transfer_(std::move(transfer)),
        receiver_(sockets, *transfer_),
        sender_(sockets, *transfer_) {}

  // A queue with this engine, or with plain calls if there is no ring to be had now (Ring::open() tells why);
  // counters() says which.
  static std::unique_ptr<UdpQueue> make(UdpSockets& sockets, Engine engine);

  size_t receive_batch(std::span<IncomingTrain> trains) override { return receiver_.receive_batch(trains); }
  void send_batch(std::span<OutgoingTrain> trains) override { sender_.send_batch(trains); }
  OuterCounters counters() const override;
  std::array<int, 2> poll_fds() const override;

 private:
  const UdpSockets& sockets_;
  const std::unique_ptr<Transfer> transfer_;
  UdpReceiver receiver_;
  UdpSender sender_;
};

}  // namespace culvert::io
