// A worker's data path with one peer and a keypair that needs no handshake, and sides in memory: one that
// hands out what was prepared, and swallows what it is given.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "io/inner_queue.h"
#include "io/outer_queue.h"
#include "io/wakeup.h"
#include "src/pipeline/inbound.h"
#include "src/pipeline/outbound.h"
#include "src/protocol/keypair.h"
#include "src/protocol/timers.h"

namespace culvert::bench {

// Hands out the same superpackets again and again, `batch` of them at a time.
class PreparedInner final : public io::InnerQueue {
 public:
  PreparedInner() = default;
  PreparedInner(std::vector<io::Superpacket> superpackets, size_t batch)
      : superpackets_(std::move(superpackets)), batch_(batch) {}

  [[nodiscard]] int poll_fd() const override { return -1; }
  io::ReadOutcome read_batch(std::span<io::Superpacket> packets, size_t& count) override;
  size_t write_batch(std::span<const io::GatheredPacket> packets) override;
  [[nodiscard]] io::InnerOffloads offloads() const override { return {true, true, true, true, true}; }

  // Of all that was written: superpackets, and packets before they were joined.
  [[nodiscard]] size_t written() const { return written_; }
  [[nodiscard]] size_t packets_written() const { return packets_written_; }

 private:
  std::vector<io::Superpacket> superpackets_;
  size_t batch_ = 0;
  size_t at_ = 0;
  size_t written_ = 0;
  size_t packets_written_ = 0;
};

// Hands out trains once, up to `batch` at a time, and says that all it is given was sent.
class PreparedOuter final : public io::OuterQueue {
 public:
  PreparedOuter() = default;
  PreparedOuter(std::vector<io::IncomingTrain> trains, size_t batch)
      : trains_(std::move(trains)), at_(trains_.size()), batch_(batch) {}

  // From the first train again.
  void rewind() { at_ = 0; }

  size_t receive_batch(std::span<io::IncomingTrain> trains) override;
  void send_batch(std::span<io::OutgoingTrain> trains) override;
  [[nodiscard]] io::OuterCounters counters() const override { return {}; }

  [[nodiscard]] size_t datagrams_sent() const { return datagrams_sent_; }
  // The plaintext lengths of the datagrams sent since the last call.
  [[nodiscard]] std::vector<uint32_t> take_lengths() { return std::exchange(lengths_, {}); }
  // Whether take_lengths() is to know them: that costs time.
  void remember_lengths(bool remember) { remembers_ = remember; }

 private:
  std::vector<io::IncomingTrain> trains_;
  size_t at_ = 0;
  size_t batch_ = 0;
  size_t datagrams_sent_ = 0;
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
  pipeline::PeerPath path_{1, keypairs_, timers_.marks()};
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
