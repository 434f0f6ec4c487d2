// Trains into sendmsg(2): batches of messages with UDP_SEGMENT, and what to do when the kernel refuses.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "io/outer_side.h"
#include "io/port_senders.h"
#include "io/train_layout.h"
#include "io/transfer.h"
#include "io/udp_message.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: the owner of the side.
//
// A full socket buffer: one wait of at most kWaitMs for room per message and kMaxWaits per batch, then the message is
// dropped and counted. The kernel module drops at once, a blocking socket waits without end; a short wait keeps bursts
// whole and lets the inner side push back, and nobody can stall a worker for longer than kMaxWaits * kWaitMs.
//
// What a refused offload costs is told by Destination: segmentation_refused and source_refused concern the endpoint and
// are for the caller to remember; EIO (a device without checksum offload, before Linux 6.11) ends UDP_SEGMENT for the
// sockets. Each is counted once in gso_downgrades, and what was refused is sent again, in order.
class UdpSender {
 public:
  static constexpr int kWaitMs = 5;
  static constexpr int kMaxWaits = 4;

  // All of them outlive it.
  UdpSender(UdpSockets& sockets, Transfer& transfer, OuterCounters& counters);
  UdpSender(const UdpSender&) = delete;
  UdpSender& operator=(const UdpSender&) = delete;

  // Sends every train, those of a socket in order: each leaves from the local port of its destination, or from the base
  // port where that is none of ours (wide sockets: where it cannot be bound). Sets the results of the destinations,
  // and each train's `lost`.
  void send(std::span<OutgoingTrain> trains, std::span<Destination> destinations);

  // Whether trains of the last send() have lost datagrams.
  bool has_lost() const { return has_lost_; }

 private:
  static constexpr size_t kMessages = 64;  // per call
  static constexpr uint16_t kNone = 0xffff;

  // `datagrams` datagrams of a train, from `first` on, that go out as one message.
  struct Piece {
    size_t train;
    uint16_t first;
    uint16_t datagrams;
  };

  // The trains that leave from one socket: linked by behind_.
  struct Queue {
    int fd = -1;
    Counter* datagrams_sent = nullptr;  // from its port; null: sockets listen wide, and it is one of many
    bool has_trains = false;
    uint16_t first = 0, last = 0;
  };

  void sort_by_socket();
  Queue* queue_of(const Envelope& envelope);
  void send_queue(const Queue& queue);
  size_t compose_messages();
  uint16_t piece_limit(const Destination& to) const;
  void compose_message(size_t index, const Piece& piece);
  void advance(const Piece& piece);
  void drop(const Piece& piece);
  void drop_rest_of_train(const Piece& piece);
  void settle_failure(const Piece& piece, int error);
  void settle_invalid(const Piece& piece);
  void refuse_gso(Destination& to);
  bool wait_for_room();
  Destination& destination_of(const OutgoingTrain& train) { return destinations_[train.destination]; }

  UdpSockets& sockets_;
  std::optional<PortSenders> senders_;  // of wide sockets
  Transfer& transfer_;
  OuterCounters& counters_;

  // The messages of one call, and what each one is a piece of.
  mmsghdr messages_[kMessages]{};
  iovec parts_[kMessages]{};
  SocketAddress addresses_[kMessages]{};
  ControlBuffer controls_[kMessages]{};
  Piece pieces_[kMessages]{};

  // Of the batch that is being sent.
  std::span<OutgoingTrain> trains_;
  std::span<Destination> destinations_;
  std::array<int, Sending::kMaxDestinations> source_errors_;              // what a refused source was refused with
  std::array<Queue*, Sending::kMaxDestinations> queues_of_destinations_;  // null: there is no such socket
  std::vector<Queue> queues_;                            // by UdpSockets::tag_of(), then those of senders_
  std::vector<Queue*> used_;                             // that have trains
  std::array<uint16_t, Sending::kMaxDatagrams> behind_;  // which train follows which
  int fd_ = -1;                                          // of the queue that is being sent
  size_t next_train_ = 0;                                // the first of its trains that is not done
  uint16_t next_datagram_ = 0;                           // and the first of its datagrams
  bool retried_ = false;                                 // the message that is next has failed for lack of room before
  bool has_lost_ = false;
  int waits_left_ = 0;
};

}  // namespace culvert::io
