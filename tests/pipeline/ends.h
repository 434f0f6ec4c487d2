// Two ends of a tunnel in memory: both pipelines between a fake inner and a fake outer side, with keypairs that
// need no handshake.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "io/inner_side.h"
#include "io/outer_side.h"
#include "io/train_layout.h"
#include "src/pipeline/inbound.h"
#include "src/pipeline/outbound.h"
#include "tests/packet/packets.h"
#include "tests/pipeline/peers.h"

namespace culvert::pipeline::test {

using packet::test::Bytes;
using packet::test::make_packet;
using packet::test::PacketSpec;

inline constexpr protocol::Instant kStart{std::chrono::hours(1)};

struct InnerPacket {
  Bytes bytes;
  io::Offload offload;
  uint32_t waited_us = 0;
};

// What TSO and USO would make of it: the packets that a host would see.
inline std::vector<Bytes> segments_of(const InnerPacket& packet) {
  if (packet.offload.gso == io::GsoType::none) return {packet.bytes};
  return packet::test::naive_segments(packet.bytes, packet.offload.gso == io::GsoType::tcp,
                                      packet::test::ip_header_bytes(packet.bytes), packet.offload.gso_size);
}

// A superpacket of the inner side, to be cut after every `gso_size` payload bytes; 0: a packet as it is.
inline InnerPacket superpacket(const PacketSpec& spec, uint16_t gso_size = 0) {
  InnerPacket packet{make_packet(spec), {}};
  if (gso_size == 0 || spec.payload_bytes <= gso_size) return packet;
  const auto ip = static_cast<uint16_t>(packet::test::ip_header_bytes(packet.bytes));
  packet.offload.gso = spec.tcp ? io::GsoType::tcp : io::GsoType::udp;
  packet.offload.needs_checksum = true;
  packet.offload.gso_size = gso_size;
  packet.offload.header_length = static_cast<uint16_t>(packet.bytes.size() - spec.payload_bytes);
  packet.offload.checksum_start = ip;
  packet.offload.checksum_offset = spec.tcp ? 16 : 6;
  return packet;
}

// Leases what it hands out, takes what it is given back, and counts both.
class FakeInner final : public io::InnerSide {
 public:
  std::deque<InnerPacket> to_read;
  std::vector<InnerPacket> written;
  io::InnerOffloads takes = {true, true, true, true, true};
  size_t refuse = 0;  // packets from the end of each batch
  io::ReadOutcome outcome = io::ReadOutcome::ok;
  size_t leased = 0;  // that have not come home
  uint32_t left_behind = 1;

  io::ReadOutcome read(io::PlainBatch& batch) override {
    EXPECT_EQ(leased, 0u) << "a batch was not released";
    reading_.clear();
    for (batch.count = 0; batch.count < batch.packets.size() && !to_read.empty(); ++batch.count) {
      InnerPacket packet = std::move(to_read.front());
      to_read.pop_front();
      const auto length = static_cast<uint32_t>(packet.bytes.size());
      packet.bytes.resize(length + io::kTailroom, 0xee);
      reading_.push_back(std::move(packet.bytes));
      batch.packets[batch.count] = {
          reading_.back().data(), length, packet.offload, {this, io::Memory::test}, packet.waited_us};
      ++leased;
    }
    batch.left_behind = left_behind;
    return outcome;
  }
  void release(io::PlainBatch& batch) override {
    for (io::Superpacket& packet : std::span(batch.packets).first(batch.count))
      leased -= packet.lease.take(io::Memory::test) == this ? 1 : 0;
    batch.count = 0;
  }

  size_t write(std::span<const io::GatheredPacket> packets) override {
    const size_t taken = packets.size() - std::min(refuse, packets.size());
    for (const io::GatheredPacket& packet : packets.first(taken)) {
      InnerPacket& out = written.emplace_back();
      out.offload = packet.offload;
      for (const iovec& part : packet.parts) {
        const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
        out.bytes.insert(out.bytes.end(), bytes, bytes + part.iov_len);
      }
      EXPECT_EQ(out.bytes.size(), packet.length);
    }
    return taken;
  }
  const io::InnerCounters& counters() const override { return counters_; }

  io::InnerOffloads offloads() const override { return takes; }

  // What hosts see of all that was written.
  std::vector<Bytes> take_packets() {
    std::vector<Bytes> packets;
    for (const InnerPacket& packet : written)
      for (Bytes& segment : segments_of(packet)) packets.push_back(std::move(segment));
    written.clear();
    return packets;
  }

 private:
  std::vector<Bytes> reading_;
  io::InnerCounters counters_;
};

// A train, apart from anybody's memory.
struct Train {
  Bytes bytes;
  size_t segment_size = 0;
  io::Endpoint peer;  // where it goes, or comes from
  uint8_t traffic_class = 0;
  uint16_t local_port = 0;  // of those of the side that sent it

  std::vector<Bytes> datagrams() const {
    std::vector<Bytes> result;
    for (size_t at = 0; at < bytes.size(); at += segment_size) {
      const size_t end = std::min(bytes.size(), at + segment_size);
      result.emplace_back(bytes.begin() + static_cast<long>(at), bytes.begin() + static_cast<long>(end));
    }
    return result;
  }
};

// A train that is about to leave, and what becomes of it.
struct Departure {
  io::Endpoint to;
  uint16_t datagrams = 0;
  uint16_t datagrams_sent = 0;
  bool gso_refused = false;
  bool source_refused = false;
};

class FakeOuter final : public io::OuterSide {
 public:
  std::deque<Train> to_receive;
  std::vector<Train> sent;
  // What the network makes of a train; the default sends all of it.
  std::function<void(Departure&)> network;
  std::vector<bool> gso_allowed;  // of each train that was offered
  size_t lend_nothing_for = 0;    // datagrams at the end of each batch
  size_t most_datagrams = 256;    // of a batch that is received
  uint16_t local_port = 0;        // that datagrams were sent to
  std::vector<uint16_t> ports;    // to send from
  size_t leased = 0;              // that have not come home

  void receive(io::Received& batch) override {
    EXPECT_EQ(leased, 0u) << "a batch was not released";
    batch.count = batch.envelope_count = 0;
    if (next_ == arrived_.size()) {
      receiving_.clear();
      arrived_.clear();
      next_ = 0;
      for (size_t i = 0; i < 8 && !to_receive.empty(); ++i) arrive();
    }
    for (; next_ < arrived_.size() && batch.count < most_datagrams; ++next_) {
      const auto& [bytes, length, envelope] = arrived_[next_];
      if (batch.envelope_count == 0 || batch.envelopes[batch.envelope_count - 1] != envelope)
        batch.envelopes[batch.envelope_count++] = envelope;
      batch.datagrams[batch.count++] = {
          {this, io::Memory::test}, bytes, length, static_cast<uint16_t>(batch.envelope_count - 1)};
      ++leased;
    }
    batch.more = next_ < arrived_.size();
  }
  void release(io::Received& batch) override {
    for (io::Datagram& datagram : std::span(batch.datagrams).first(batch.count))
      leased -= datagram.lease.take(io::Memory::test) == this ? 1 : 0;
    batch.count = 0;
  }

  void lend(io::Sending& batch) override {
    EXPECT_FALSE(lent_) << "what was lent was never sent";
    lent_ = true;
    layout_.lay_out(batch);
    for (size_t i = batch.count - std::min<size_t>(batch.count, lend_nothing_for); i < batch.count; ++i)
      batch.datagrams[i].bytes = nullptr;
  }
  void send(io::Sending& batch) override {
    EXPECT_TRUE(lent_);
    lent_ = false;
    batch.lost = 0;
    bool all_sent = true;
    for (io::OutgoingTrain& train : layout_.trains()) all_sent &= depart(train, batch.destinations[train.destination]);
    if (!all_sent) layout_.report_lost(batch);
    for (io::Outgoing& datagram : std::span(batch.datagrams).first(batch.count)) {
      if (all_sent) datagram.lost = false;
      if (datagram.bytes != nullptr || datagram.lost) continue;
      datagram.lost = true;
      ++batch.lost;
    }
  }

  const io::OuterCounters& counters() const override { return counters_; }
  std::span<const uint16_t> local_ports() const override { return ports; }

  std::vector<Bytes> sent_datagrams() const {
    std::vector<Bytes> result;
    for (const Train& train : sent)
      for (Bytes& datagram : train.datagrams()) result.push_back(std::move(datagram));
    return result;
  }

 private:
  struct Arrived {
    uint8_t* bytes;
    uint32_t length;
    io::Envelope envelope;
  };

  void arrive() {
    Train train = std::move(to_receive.front());
    to_receive.pop_front();
    const size_t length = train.bytes.size();
    train.bytes.resize(length + io::kTailroom, 0xee);
    receiving_.push_back(std::move(train.bytes));
    const io::Envelope envelope{train.peer, local_port, train.traffic_class};
    size_t at = 0;
    do {
      const size_t step = std::min(train.segment_size, length - at);
      arrived_.push_back({receiving_.back().data() + at, static_cast<uint32_t>(step), envelope});
      at += step;
    } while (at < length);
  }

  // False when not all of it was sent.
  bool depart(io::OutgoingTrain& train, io::Destination& to) {
    EXPECT_EQ((train.length + train.segment_size - 1) / train.segment_size, train.datagrams);
    gso_allowed.push_back(to.allow_segmentation);
    Departure departure{to.envelope.endpoint, train.datagrams, train.datagrams};
    if (network) network(departure);
    to.segmentation_refused = departure.gso_refused;
    to.source_refused = departure.source_refused;
    for (size_t i = departure.datagrams_sent; i < train.datagrams; ++i) train.lost.set(i);
    const size_t length = std::min<size_t>(train.length, size_t{departure.datagrams_sent} * train.segment_size);
    if (length > 0)
      sent.push_back({Bytes(train.bytes, train.bytes + length), train.segment_size, to.envelope.endpoint,
                      to.envelope.traffic_class, to.envelope.local_port});
    return departure.datagrams_sent == train.datagrams;
  }

  std::deque<Bytes> receiving_;
  std::vector<Arrived> arrived_;
  size_t next_ = 0;
  bool lent_ = false;
  io::TrainLayout layout_;
  io::OuterCounters counters_;
};

// One end: a worker's data path without its thread.
struct End {
  explicit End(const std::string& address) : at(endpoint(address)) {
    published.listen_port = at.port;
    published.mtu = 1420;
    publish();
  }

  // Makes the allowed IPs, which are copied, and the index table visible.
  void publish() {
    auto copy = std::make_unique<protocol::AllowedIps>(allowed_ips);
    published.allowed_ips.store(copy.get());
    published.index_table.store(&index_table);
    published_allowed_ips = std::move(copy);
  }

  TestPeer& add_peer(const io::Endpoint& remote) {
    peers.push_back(std::make_unique<TestPeer>(peers.size() + 1));
    peers.back()->path.endpoint.store(remote);
    return *peers.back();
  }

  // The v4 and v6 addresses of `host` in tests/packet/packets.h, source and destination, belong to the peer.
  void allow(TestPeer& peer, uint8_t host) {
    using protocol::IpVersion;
    allowed_ips.insert({{10, 0, 0, host}, IpVersion::v4, 32}, &peer.path);
    allowed_ips.insert({{10, 0, 1, host}, IpVersion::v4, 32}, &peer.path);
    protocol::Prefix v6{{0xfd}, IpVersion::v6, 128};
    v6.address[15] = host;
    allowed_ips.insert(v6, &peer.path);
    v6.address[15] = static_cast<uint8_t>(host + 1);
    allowed_ips.insert(v6, &peer.path);
    publish();
  }

  // Everything that can be read goes out.
  void send(protocol::Instant now = kStart) {
    for (size_t read = 1; read > 0;) (void)outbound.run(inner, &outer, now, read);
  }
  void send(InnerPacket packet, protocol::Instant now = kStart) {
    inner.to_read.push_back(std::move(packet));
    send(now);
  }
  void receive(protocol::Instant now = kStart) {
    while (inbound.run(inner, outer, now) > 0) {
    }
  }
  void receive(Train train, protocol::Instant now = kStart) {
    outer.to_receive.push_back(std::move(train));
    receive(now);
  }

  uint64_t drops(DropReason reason) const { return stats.drops[static_cast<size_t>(reason)].get(); }

  // What this end's worker has counted of a peer.
  uint64_t sent_to(const TestPeer& peer) const { return mailbox.traffic.of(peer.path.number).sent_bytes.get(); }
  uint64_t received_from(const TestPeer& peer) const {
    return mailbox.traffic.of(peer.path.number).received_bytes.get();
  }

  // Of every end's host.
  static inline std::vector<io::Address> host_addresses;

  io::Endpoint at;
  io::Result<io::Wakeup> wakeup = io::Wakeup::open();
  Published published;
  protocol::AllowedIps allowed_ips;
  std::unique_ptr<protocol::AllowedIps> published_allowed_ips;
  protocol::IndexTable index_table{1024};
  std::vector<std::unique_ptr<TestPeer>> peers;
  Mailbox mailbox{*wakeup};
  WorkerStats stats;
  FakeInner inner;
  FakeOuter outer;
  Outbound outbound{published, mailbox, stats, io::LocalAddresses([] { return host_addresses; })};
  Inbound inbound{published, mailbox, stats};
};

using Drops = std::map<DropReason, uint64_t>;

// Every reason for which an end dropped something.
inline Drops drops_of(const End& end) {
  Drops drops;
  for (size_t i = 0; i < kDropReasons; ++i)
    if (const uint64_t n = end.stats.drops[i].get(); n > 0) drops[static_cast<DropReason>(i)] = n;
  return drops;
}

struct KeypairOptions {
  protocol::Instant created = kStart;
  uint64_t first_counter = 0;
  bool confirmed = true;  // the responder's
};

// What a handshake would leave behind; `initiator` started it.
inline void begin_session(protocol::IndexTable& initiator, TestPeer& to_responder, protocol::IndexTable& responder,
                          TestPeer& to_initiator, const KeypairOptions& options = {}) {
  static std::mt19937 random(1);
  const auto draw = [] { return static_cast<uint32_t>(random()); };
  std::array<uint8_t, 32> forth, back;
  std::generate(
      forth.begin(), forth.end(), [] { return static_cast<uint8_t>(random()); });
  std::generate(back.begin(), back.end(), [] { return static_cast<uint8_t>(random()); });
  const uint32_t ours = initiator.insert_handshake(&to_responder.path, 0, draw);
  const uint32_t theirs = responder.insert_handshake(&to_initiator.path, 0, draw);
  const auto make = [&](bool first) {
    return std::make_unique<protocol::Keypair>(
        protocol::KeypairParameters{.sending_key = crypto::Secret<32>(first ? forth : back),
                                    .receiving_key = crypto::Secret<32>(first ? back : forth),
                                    .created = options.created,
                                    .local_index = first ? ours : theirs,
                                    .remote_index = first ? theirs : ours,
                                    .i_am_initiator = first,
                                    .owner = first ? &to_responder.path : &to_initiator.path,
                                    .first_counter = options.first_counter});
  };
  auto at_initiator = make(true), at_responder = make(false);
  initiator.insert_keypair(at_initiator.get());
  responder.insert_keypair(at_responder.get());
  to_responder.retired.push_back(to_responder.keypairs.add(std::move(at_initiator)));
  protocol::Keypair* const next = at_responder.get();
  to_initiator.retired.push_back(to_initiator.keypairs.add(std::move(at_responder)));
  if (!options.confirmed) return;
  (void)next->confirm();
  bool became_current = false;
  to_initiator.retired.push_back(to_initiator.keypairs.received_with(next, became_current));
}

inline void begin_session(End& initiator, TestPeer& to_responder, End& responder, TestPeer& to_initiator,
                          const KeypairOptions& options = {}) {
  begin_session(initiator.index_table, to_responder, responder.index_table, to_initiator, options);
}

// The network: what `from` has sent arrives at `to`.
inline void carry(End& from, End& to) {
  for (Train& train : from.outer.sent) {
    train.peer = from.at;
    if (!from.outer.ports.empty()) train.peer.port = train.local_port;
    to.outer.to_receive.push_back(std::move(train));
  }
  from.outer.sent.clear();
}

// Two ends that are each other's only peer, with a keypair.
struct Tunnel {
  explicit Tunnel(const KeypairOptions& options = {}) {
    left.allow(to_right, 1);
    right.allow(to_left, 1);
    begin_session(left, to_right, right, to_left, options);
  }

  // Sends the packets on the left and returns what comes out on the right.
  std::vector<Bytes> transfer(std::vector<InnerPacket> packets, protocol::Instant now = kStart) {
    for (InnerPacket& packet : packets) left.inner.to_read.push_back(std::move(packet));
    left.send(now);
    carry(left, right);
    right.receive(now);
    return right.inner.take_packets();
  }

  // A train with the sealed `packets`, not yet received by anybody.
  Train seal(std::vector<InnerPacket> packets, protocol::Instant now = kStart) {
    for (InnerPacket& packet : packets) left.inner.to_read.push_back(std::move(packet));
    left.send(now);
    EXPECT_EQ(left.outer.sent.size(), 1u);
    Train train = std::move(left.outer.sent.at(0));
    train.peer = left.at;
    left.outer.sent.clear();
    return train;
  }

  End left{"192.0.2.1:1001"}, right{"192.0.2.2:1002"};
  TestPeer& to_right = left.add_peer(right.at);
  TestPeer& to_left = right.add_peer(left.at);
};

}  // namespace culvert::pipeline::test
