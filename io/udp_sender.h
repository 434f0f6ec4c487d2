// The sending half of UdpQueue: batches of messages with UDP_SEGMENT, and what to do when the kernel refuses.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <span>

#include "io/counters.h"
#include "io/outer_queue.h"
#include "io/transfer.h"
#include "io/udp_message.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: the owner of the queue; add_counters() from any thread.
//
// A full socket buffer: one wait of at most kWaitMs for room per message and kMaxWaits per batch, then the message is
// dropped and counted. The kernel module drops at once, a blocking socket waits without end; a short wait keeps bursts
// whole and lets the inner side push back, and nobody can stall a worker for longer than kMaxWaits * kWaitMs.
//
// What a refused offload costs is told by OutgoingTrain: gso_refused and source_refused concern the endpoint and are
// for the caller to remember; EIO (a device without checksum offload, before Linux 6.11) ends UDP_SEGMENT for the
// sockets. Each is counted once in gso_downgrades, and what was refused is sent again, in order.
class UdpSender {
 public:
  static constexpr int kWaitMs = 5;
  static constexpr int kMaxWaits = 4;

  UdpSender(UdpSockets& sockets, Transfer& transfer) : sockets_(sockets), transfer_(transfer) {}
  UdpSender(const UdpSender&) = delete;
  UdpSender& operator=(const UdpSender&) = delete;

  // OuterQueue::send_batch().
  void send_batch(std::span<OutgoingTrain> trains);

  // Adds what was counted here.
  void add_counters(OuterCounters& counters) const;

 private:
  static constexpr size_t kMessages = 64;  // per call

  // `datagrams` datagrams of a train, from `first` on, that go out as one message.
  struct Piece {
    OutgoingTrain* train;
    size_t train_index;
    uint16_t first;
    uint16_t datagrams;
  };

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
  Transfer& transfer_;

  // The messages of one call, and what each one is a piece of.
  mmsghdr messages_[kMessages]{};
  iovec parts_[kMessages]{};
  SocketAddress addresses_[kMessages]{};
  ControlBuffer controls_[kMessages]{};
  Piece pieces_[kMessages]{};

  // Of the batch that is being sent.
  std::span<OutgoingTrain> trains_;
  Family family_ = Family::none;
  size_t next_train_ = 0;       // the first train that is not done
  uint16_t next_datagram_ = 0;  // and the first of its datagrams
  bool retried_ = false;        // the message that is next has failed for lack of room before
  int waits_left_ = 0;
  // What the batch has learned of endpoints, so that their later trains are not refused one by one.
  Endpoint gso_refused_, source_refused_;
  int source_error_ = 0;  // what the source was refused with

  Counter datagrams_sent_, trains_sent_, send_errors_, send_stalls_, gso_downgrades_;
};

}  // namespace culvert::io
