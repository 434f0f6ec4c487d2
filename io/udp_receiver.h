// The receiving half of UdpQueue: batches of messages into memory of its own, with UDP_GRO.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <memory>
#include <span>

#include "io/counters.h"
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
  static constexpr unsigned kOthersTurn = 8;     // every eighth batch begins with the other family

  UdpReceiver(const UdpSockets& sockets, Transfer& transfer);
  UdpReceiver(const UdpReceiver&) = delete;
  UdpReceiver& operator=(const UdpReceiver&) = delete;

  // OuterQueue::receive_batch(): at most kBuffers trains, all of one family. It asks the one that had something the
  // last time, and the other one only if there is nothing, or if it is its turn.
  size_t receive_batch(std::span<IncomingTrain> trains);

  // Adds what was counted here.
  void add_counters(OuterCounters& counters) const;

 private:
  size_t receive_messages(int fd, size_t room);
  bool take_message(const mmsghdr& message, IncomingTrain& train);

  // Constant after construction.
  const UdpSockets& sockets_;
  Transfer& transfer_;
  std::unique_ptr<uint8_t[]> memory_;  // never cleared: pages that no datagram touched take no memory
  iovec parts_[kBuffers]{};

  mmsghdr messages_[kBuffers]{};
  SocketAddress addresses_[kBuffers]{};
  ControlBuffer controls_[kBuffers]{};
  Family busy_family_ = Family::v4;  // that had something the last time
  unsigned batches_ = 0;

  Counter datagrams_received_, trains_received_, receive_errors_, truncated_, empty_;
};

}  // namespace culvert::io
