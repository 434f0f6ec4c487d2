// Datagrams from the outer side to packets on the inner side.
//
// Stages, each over the whole batch:
//   1. receive   datagrams, with an envelope for each run                         (one core)
//   2. classify  type and length; receiver index -> keypair; handshake messages
//                with a right mac1, and cookie replies to an index of ours, go
//                to the control thread                                            (any core)
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
#include "io/inner_side.h"
#include "io/outer_side.h"
#include "src/packet/coalesce.h"
#include "src/pipeline/shared_state.h"
#include "src/pipeline/stats.h"

namespace culvert::pipeline {

// Thread safety: none; one worker owns it. Holds no pointer into published state between two calls.
class Inbound {
 public:
  Inbound(const Published& published, Mailbox& mailbox, WorkerStats& stats);

  // What is there now. Returns how many datagrams were received.
  size_t run(io::InnerSide& inner, io::OuterSide& outer, protocol::Instant now);

 private:
  // Beside each OpenMessage.
  struct Pending {
    protocol::Keypair* keypair;
    io::Datagram* datagram;
  };

  // The sources of a run of one peer's packets.
  struct Allowed {
    protocol::PeerHandle owner;      // whose are good: the peer's, or its group's once one of them was
    packet::AddressWords address{};  // the last that was looked up and found good: neighbours most often share it
    uint8_t version = 0;             // of that; 0: none was
  };

  void process(io::InnerSide& inner, protocol::Instant now);
  void classify(io::Datagram& datagram, protocol::Instant now);
  void receive_transport_data(io::Datagram& datagram, protocol::Instant now);
  void receive_handshake(const io::Datagram& datagram);
  void receive_cookie_reply(const io::Datagram& datagram);
  void pass_on(const io::Datagram& datagram);
  void open_and_write(io::InnerSide& inner, protocol::Instant now);
  void admit_run(size_t first, size_t last, const io::InnerOffloads& offloads, protocol::Instant now);
  const io::Envelope& envelope_of(const io::Datagram& datagram) const { return batch_.envelopes[datagram.envelope]; }
  // Checks one opened packet and passes it on.
  void deliver(const crypto::OpenMessage& message, io::Datagram& datagram, const PeerPath& path, Allowed& allowed,
               const io::InnerOffloads& offloads);

  // Constant after construction.
  const Published& published_;
  Mailbox& mailbox_;
  WorkerStats& stats_;

  io::Received batch_;
  std::span<const uint16_t> local_ports_;  // of the side that it came from
  std::array<crypto::OpenMessage, io::Received::kMaxDatagrams> to_open_;
  std::array<Pending, io::Received::kMaxDatagrams> pending_;  // pending_[i] belongs to to_open_[i]
  size_t pending_count_ = 0;
  packet::Coalescer coalescer_;
  const protocol::AllowedIps* allowed_ips_ = nullptr;  // of this batch
  const protocol::IndexTable* index_table_ = nullptr;  // of this batch
  const protocol::Mac1Key* mac1_key_ = nullptr;        // of this batch
};

}  // namespace culvert::pipeline
