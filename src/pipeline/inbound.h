// Datagrams from the outer side to packets on the inner side.
//
// Stages, each over the whole batch:
//   1. receive   trains of datagrams                                              (one core)
//   2. classify  type and length; receiver index -> keypair; handshake messages
//                with a right mac1 go to the control thread                       (any core)
//   3. open      the transport data of the batch, in place                        (any core)
//   4. admit     replay window and roaming by runs of one keypair; then ECN and
//                the allowed-IP check of each packet                              (any core, one lock a run)
//   5. coalesce  neighbours of a flow                                             (one core)
//   6. write     each superpacket, gathered from where it was opened              (one core)
#pragma once

#include <array>
#include <span>
#include <vector>

#include "crypto/aead.h"
#include "io/inner_queue.h"
#include "io/outer_queue.h"
#include "src/packet/coalesce.h"
#include "src/pipeline/mailbox.h"
#include "src/pipeline/peer_path.h"
#include "src/pipeline/published.h"
#include "src/pipeline/stats.h"

namespace culvert::pipeline {

// Thread safety: none; one worker owns it. Holds no pointer into published state between two calls.
class Inbound {
 public:
  static constexpr size_t kBatchTrains = 8;

  Inbound(const Published& published, Mailbox& mailbox, WorkerStats& stats);

  // One batch. Returns how many trains were received.
  size_t run(io::InnerQueue& inner, io::OuterQueue& outer, protocol::Instant now);

 private:
  // Beside each OpenMessage.
  struct Pending {
    protocol::Keypair* keypair;
    const io::IncomingTrain* train;
  };

  void classify(const io::IncomingTrain& train, io::InnerQueue& inner, protocol::Instant now);
  void receive_transport_data(std::span<uint8_t> datagram, const io::IncomingTrain& train, protocol::Instant now);
  void receive_handshake(std::span<const uint8_t> datagram, const io::IncomingTrain& train, bool has_mac1);
  void finish_batch(io::InnerQueue& inner, protocol::Instant now);
  void admit_run(size_t first, size_t last, const io::InnerOffloads& offloads, protocol::Instant now);
  // Checks one opened packet and passes it on.
  void deliver(const crypto::OpenMessage& message, const PeerPath& path, uint8_t outer_traffic_class,
               const io::InnerOffloads& offloads);

  // Constant after construction.
  const Published& published_;
  Mailbox& mailbox_;
  WorkerStats& stats_;

  std::array<io::IncomingTrain, kBatchTrains> trains_;
  std::vector<crypto::OpenMessage> to_open_;
  std::vector<Pending> pending_;  // pending_[i] belongs to to_open_[i]
  packet::Coalescer coalescer_;
  const protocol::AllowedIps* allowed_ips_ = nullptr;  // of this batch
  const protocol::IndexTable* index_table_ = nullptr;  // of this batch
  const protocol::Mac1Key* mac1_key_ = nullptr;        // of this batch
};

}  // namespace culvert::pipeline
