// The outer side on UDP sockets: trains go out by sendmmsg with UDP_SEGMENT and come in by recvmmsg with
// UDP_GRO.
#pragma once

#include <atomic>
#include <memory>

#include "io/outer_queue.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: as OuterQueue. Several queues may share one UdpSockets, which must outlive them.
//
// A full socket buffer: one wait of at most kSendWaitMs for room per message and kMaxSendWaits per batch,
// then the message is dropped and counted. The kernel module drops at once, a blocking socket waits without
// end; a short wait keeps bursts whole and lets the inner side push back, and no peer can stall a worker for
// longer than kMaxSendWaits * kSendWaitMs.
//
// What a refused offload costs is told by OutgoingTrain: gso_refused and source_refused concern the endpoint
// and are for the caller to remember; EIO (a device without checksum offload, before Linux 6.11) ends
// UDP_SEGMENT for the sockets. Each is counted once in gso_downgrades, and what was refused is sent again, in
// order.
class UdpQueue final : public OuterQueue {
 public:
  static constexpr size_t kReceiveBuffers = 8;
  static constexpr size_t kReceiveBufferBytes = 65535;  // more than any UDP payload, and a uint16_t
  static constexpr int kSendWaitMs = 5;
  static constexpr int kMaxSendWaits = 4;

  // Allocates all of its memory: 8 receive buffers of 64 KiB, and headers for a batch of messages.
  explicit UdpQueue(UdpSockets& sockets);
  ~UdpQueue() override;
  UdpQueue(const UdpQueue&) = delete;
  UdpQueue& operator=(const UdpQueue&) = delete;

  // At most kReceiveBuffers trains a call. Both families get their turn: the one that came first is second
  // the next time.
  size_t receive_batch(std::span<IncomingTrain> trains) override;
  void send_batch(std::span<OutgoingTrain> trains) override;
  OuterCounters counters() const override;
  std::array<int, 2> poll_fds() const override;

 private:
  struct ReceiveState;
  struct SendState;
  struct Counters;
  struct Piece;

  size_t receive_messages(int fd, size_t first, size_t room);
  bool take_message(size_t index, IncomingTrain& train);

  void send_family(Family family);
  size_t compose_messages();
  uint16_t piece_limit(const OutgoingTrain& train) const;
  void compose_message(size_t index, const Piece& piece);
  void advance(const Piece& piece);
  void drop(const Piece& piece);
  void drop_rest_of_train(const Piece& piece);
  void settle_failure(const Piece& piece, int error);
  void settle_invalid(const Piece& piece);
  void refuse_source(OutgoingTrain& train, int error);
  void restore_source(const OutgoingTrain& train);
  void refuse_gso(OutgoingTrain& train);
  bool wait_for_room();

  UdpSockets& sockets_;
  std::unique_ptr<ReceiveState> receive_;
  std::unique_ptr<SendState> send_;
  std::unique_ptr<Counters> counters_;
};

}  // namespace culvert::io
