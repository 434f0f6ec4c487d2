// The receiving half of UdpQueue: batches of messages into memory of its own, with UDP_GRO.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <memory>
#include <span>

#include "io/count.h"
#include "io/outer_queue.h"
#include "io/transfer.h"
#include "io/udp_message.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: the owner of the queue; add_counters() from any thread.
class UdpReceiver {
 public:
  static constexpr size_t kBuffers = 8;
  static constexpr size_t kBufferBytes = 65535;  // more than any UDP payload, and a uint16_t

  UdpReceiver(const UdpSockets& sockets, Transfer& transfer);
  UdpReceiver(const UdpReceiver&) = delete;
  UdpReceiver& operator=(const UdpReceiver&) = delete;

  // OuterQueue::receive_batch(): at most kBuffers trains. Both families get their turn: the one that came first is
  // second the next time.
  size_t receive_batch(std::span<IncomingTrain> trains);

  // Adds what was counted here.
  void add_counters(OuterCounters& counters) const;

 private:
  size_t receive_messages(int fd, size_t first, size_t room);
  bool take_message(const mmsghdr& message, IncomingTrain& train);

  // Constant after construction.
  const UdpSockets& sockets_;
  Transfer& transfer_;
  std::unique_ptr<uint8_t[]> memory_;  // never cleared: pages that no datagram touched take no memory
  iovec parts_[kBuffers]{};

  mmsghdr messages_[kBuffers]{};
  SocketAddress addresses_[kBuffers]{};
  ControlBuffer controls_[kBuffers]{};
  Family first_family_ = Family::v4;  // whose turn it is to come first

  Count datagrams_received_, trains_received_, receive_errors_, truncated_, empty_;
};

}  // namespace culvert::io
