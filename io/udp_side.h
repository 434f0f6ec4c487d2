// The outer side on UDP sockets: datagrams go out in trains with UDP_SEGMENT and come in with UDP_GRO, in batches by
// sendmmsg and recvmmsg or by io_uring.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <memory>
#include <span>
#include <vector>

#include "io/outer_side.h"
#include "io/poller.h"
#include "io/train_layout.h"
#include "io/transfer.h"
#include "io/udp_message.h"
#include "io/udp_sender.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: as OuterSide. The UdpSockets must outlive it; with several ports it is their only user.
//
// With one port the worker watches both sockets. With several it watches one epoll that watches them all, and only what
// is ready there is received from.
class UdpSide final : public OuterSide {
 public:
  static constexpr size_t kBuffers = 8;
  static constexpr size_t kBufferBytes = 65535;  // more than any UDP payload, and a uint16_t
  static constexpr unsigned kOthersTurn = 8;     // every eighth call begins with the other family

  // Allocates all of its memory: the receive buffers, 8 of 64 KiB, and 704 KiB to send from.
  explicit UdpSide(UdpSockets& sockets) : UdpSide(sockets, std::make_unique<SocketTransfer>(sockets.syscalls())) {}
  // With another way to move messages.
  UdpSide(UdpSockets& sockets, std::unique_ptr<Transfer> transfer);

  // A side with this engine, or with plain calls if there is no ring to be had now (Ring::open() tells why);
  // counters() says which.
  static std::unique_ptr<UdpSide> make(UdpSockets& sockets, Engine engine);

  // At most kBuffers trains at a time. With one port all of one family: the one that had something the last time, and
  // the other one only if there is nothing, or if it is its turn. With several ports from each ready socket in turn.
  void receive(Received& batch) override;
  void release(Received& batch) override { batch.count = batch.envelope_count = 0; }
  void lend(Sending& batch) override { layout_.lay_out(batch); }
  void send(Sending& batch) override;
  std::span<const uint16_t> local_ports() const override { return sockets_.ports(); }
  const OuterCounters& counters() const override { return counters_; }
  OuterState state() const override;
  std::span<const int> poll_fds() const override { return {fds_, fd_count_}; }

 private:
  // A received train, of which some datagrams may have been handed out.
  struct IncomingTrain {
    uint8_t* bytes = nullptr;
    uint32_t length = 0, segment_size = 0;
    uint32_t next = 0;  // where the first datagram starts that was not handed out
    Envelope envelope;
  };

  void receive_messages();
  void receive_from_ready(Poller& poller);
  size_t receive_from(Family family, size_t port_index);
  bool take_message(size_t index);
  void hand_out(Received& batch);

  // Constant after construction.
  UdpSockets& sockets_;
  const std::unique_ptr<Transfer> transfer_;
  int fds_[2];
  size_t fd_count_ = 0;

  OuterCounters counters_;
  TrainLayout layout_;
  UdpSender sender_;

  const std::unique_ptr<uint8_t[]> memory_;  // never cleared: pages that no datagram touched take no memory
  iovec parts_[kBuffers]{};
  mmsghdr messages_[kBuffers]{};
  SocketAddress addresses_[kBuffers]{};
  ControlBuffer controls_[kBuffers]{};
  uint16_t local_ports_[kBuffers]{};             // that the messages were sent to
  size_t message_count_ = 0, next_message_ = 0;  // of messages_, what was received and what was taken of it
  IncomingTrain train_;                          // that is being handed out
  Family busy_family_ = Family::v4;              // that had something the last time
  unsigned calls_ = 0;
  std::vector<PollEvent> events_;     // room for ready_; none with one port
  std::span<const PollEvent> ready_;  // sockets whose turn is still to come
};

}  // namespace culvert::io
