// A worker's data path with one peer and a keypair that needs no handshake, and sides in memory: one that
// hands out what was prepared, and swallows what it is given.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "io/inner_side.h"
#include "io/outer_side.h"
#include "io/train_layout.h"
#include "io/wakeup.h"
#include "src/pipeline/inbound.h"
#include "src/pipeline/outbound.h"
#include "src/protocol/keypair.h"
#include "src/protocol/timers.h"

namespace culvert::bench {

// Hands out the same superpackets again and again, `batch` of them at a time.
class PreparedInner final : public io::InnerSide {
 public:
  PreparedInner() = default;
  PreparedInner(std::vector<io::Superpacket> superpackets, size_t batch)
      : superpackets_(std::move(superpackets)), batch_(batch) {}

  io::ReadOutcome read(io::PlainBatch& batch) override;
  void release(io::PlainBatch& batch) override { batch.count = 0; }
  size_t write(std::span<const io::GatheredPacket> packets) override;
  [[nodiscard]] io::InnerOffloads offloads() const override { return {true, true, true, true, true}; }
  [[nodiscard]] const io::InnerCounters& counters() const override { return counters_; }

  // Of all that was written: superpackets, and packets before they were joined.
  [[nodiscard]] size_t written() const { return written_; }
  [[nodiscard]] size_t packets_written() const { return packets_written_; }

 private:
  std::vector<io::Superpacket> superpackets_;
  size_t batch_ = 0;
  size_t at_ = 0;
  size_t written_ = 0;
  size_t packets_written_ = 0;
  io::InnerCounters counters_;
};

// Datagrams of one size from one endpoint, back to back, as UDP_GRO hands them over.
struct IncomingTrain {
  uint8_t* bytes = nullptr;
  uint32_t length = 0;
  uint32_t segment_size = 0;
  io::Envelope envelope;  // as it stands in memory: what was just built is slow to compare
};

// Does what UdpSide does but for the system calls: hands out trains once, up to `batch` at a time, cut into datagrams,
// lays out what it is given in trains, and says that all of them were sent.
class PreparedOuter final : public io::OuterSide {
 public:
  PreparedOuter() = default;
  PreparedOuter(std::vector<IncomingTrain> trains, size_t batch)
      : trains_(std::move(trains)), at_(trains_.size()), batch_(batch) {}

  // From the first train again.
  void rewind() { at_ = offset_ = in_batch_ = 0; }

  void receive(io::Received& batch) override;
  void release(io::Received& batch) override { batch.count = 0; }
  void lend(io::Sending& batch) override { layout_.lay_out(batch); }
  void send(io::Sending& batch) override;
  [[nodiscard]] const io::OuterCounters& counters() const override { return counters_; }

  [[nodiscard]] size_t datagrams_sent() const { return datagrams_sent_; }
  // The plaintext lengths of the datagrams sent since the last call.
  [[nodiscard]] std::vector<uint32_t> take_lengths() { return std::exchange(lengths_, {}); }
  // Whether take_lengths() is to know them: that costs time.
  void remember_lengths(bool remember) { remembers_ = remember; }

 private:
  std::vector<IncomingTrain> trains_;
  size_t at_ = 0;
  uint32_t offset_ = 0;  // in the train at_
  size_t in_batch_ = 0;  // trains of this batch that were handed out
  size_t batch_ = 0;
  size_t datagrams_sent_ = 0;
  io::TrainLayout layout_;
  io::OuterCounters counters_;
  bool remembers_ = false;
  std::vector<uint32_t> lengths_;
};

// The end. Its peer has every inner address, and both directions have the same key.
class DataPathEnd {
 public:
  static constexpr protocol::Instant kNow{std::chrono::hours(1)};

  DataPathEnd();

  pipeline::Outbound& outbound() { return outbound_; }
  pipeline::Inbound& inbound() { return inbound_; }
  [[nodiscard]] const protocol::Keypair& keypair() const { return *keypair_; }
  [[nodiscard]] const io::Endpoint& endpoint() const { return endpoint_; }

 private:
  io::Result<io::Wakeup> wakeup_ = io::Wakeup::open();
  io::Endpoint endpoint_;
  protocol::Keypairs keypairs_;
  protocol::Timers timers_;
  pipeline::PeerPath path_{1, 0, keypairs_, timers_.marks()};
  protocol::AllowedIps allowed_ips_;
  protocol::IndexTable index_table_;
  const protocol::Keypair* keypair_ = nullptr;
  pipeline::Published published_;
  pipeline::Mailbox mailbox_{*wakeup_};
  pipeline::WorkerStats stats_;
  pipeline::Outbound outbound_{published_, mailbox_, stats_};
  pipeline::Inbound inbound_{published_, mailbox_, stats_};
};

}  // namespace culvert::bench
