// Arbitrary datagrams into Inbound, with a keypair that the fuzzer cannot know: some datagrams are
// sealed for it, so that what is behind the tag is reached too.
//
// An input is a list of datagrams: one byte of what to make of it, two of its length, and its bytes.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "crypto/aead.h"
#include "src/pipeline/inbound.h"
#include "src/protocol/noise.h"

namespace {

using namespace culvert;  // NOLINT(google-build-using-namespace)
using Bytes = std::vector<uint8_t>;

constexpr protocol::Instant kNow{std::chrono::hours(1)};
constexpr size_t kMaxDatagrams = 600;

[[noreturn]] void fail() {
  std::abort();
}

void require(bool holds) {
  if (!holds) fail();
}

// What to make of a datagram's bytes.
enum Making : uint8_t {
  kAsTheyAre,
  kPlaintext,   // of an authentic message
  kIpPacket,    // likewise, behind an IPv4 header with the peer's source address
  kAuthentic6,  // likewise, behind an IPv6 header
  kForged,      // sealed, and a bit flipped
  kReplayed,    // the last sealed one again
  kInitiation,  // with a right mac1
  kKeepalive,
  kMakings
};

struct Train {
  Bytes bytes;
  uint16_t segment_size = 0;
  uint8_t traffic_class = 0;
};

// The memory of each datagram is exactly as long as promised, so that AddressSanitizer sees the ends.
class Outer final : public io::OuterSide {
 public:
  std::deque<Train> trains;

  void receive(io::Received& batch) override {
    batch.count = batch.envelope_count = 0;
    for (; !trains.empty() && batch.envelope_count < 8 && batch.count + kMostDatagrams <= batch.datagrams.size();
         trains.pop_front())
      cut(trains.front(), batch);
    batch.more = !trains.empty();
  }
  void release(io::Received& batch) override {
    memory_.clear();
    batch.count = 0;
  }
  void lend(io::Sending&) override { fail(); }
  void send(io::Sending&) override { fail(); }
  const io::OuterCounters& counters() const override { return counters_; }
  // Nothing was written behind a datagram but what a vector store may spill.
  bool owns(const void* bytes, size_t length) const {
    const auto* const at = static_cast<const uint8_t*>(bytes);
    return std::any_of(memory_.begin(), memory_.end(), [&](const Bytes& one) {
      return at >= one.data() && at + length <= one.data() + one.size() - io::kTailroom;
    });
  }

  static constexpr size_t kMostDatagrams = 64;  // of a train

 private:
  void cut(const Train& train, io::Received& batch) {
    io::Envelope& envelope = batch.envelopes[batch.envelope_count];
    envelope = {};
    envelope.endpoint.remote.family = io::Family::v4;
    envelope.endpoint.port = envelope.traffic_class = train.traffic_class;
    size_t at = 0;
    do {
      const size_t length = std::min<size_t>(train.segment_size, train.bytes.size() - at);
      Bytes& bytes = memory_.emplace_back(length + io::kTailroom, uint8_t{0xee});
      bytes.shrink_to_fit();
      std::copy_n(train.bytes.begin() + static_cast<ptrdiff_t>(at), length, bytes.begin());
      batch.datagrams[batch.count++] = {
          {}, bytes.data(), static_cast<uint32_t>(length), static_cast<uint16_t>(batch.envelope_count)};
      at += length;
    } while (at < train.bytes.size());
    ++batch.envelope_count;
  }

  std::deque<Bytes> memory_;
  io::OuterCounters counters_;
};

class Inner final : public io::InnerSide {
 public:
  explicit Inner(const Outer& outer) : outer_(outer) {}

  io::InnerOffloads takes;
  uint64_t packets = 0;

  io::ReadOutcome read(io::PlainBatch& batch) override {
    batch.count = 0;
    return io::ReadOutcome::ok;
  }
  void release(io::PlainBatch&) override {}
  size_t write(std::span<const io::GatheredPacket> batch) override {
    for (const io::GatheredPacket& packet : batch) check(packet);
    return batch.size();
  }
  io::InnerOffloads offloads() const override { return takes; }
  const io::InnerCounters& counters() const override { return counters_; }

 private:
  // Whole IP packets whose source belongs to the peer, gathered from what was received.
  void check(const io::GatheredPacket& packet) {
    Bytes bytes;
    for (const iovec& part : packet.parts) {
      require(outer_.owns(part.iov_base, part.iov_len));
      const auto* const at = static_cast<const uint8_t*>(part.iov_base);
      bytes.insert(bytes.end(), at, at + part.iov_len);
    }
    require(bytes.size() == packet.length && bytes.size() >= 20 && bytes.size() <= 65535);
    const bool v4 = bytes[0] >> 4 == 4;
    require(v4 || (bytes[0] >> 4 == 6 && bytes.size() >= 40));
    const size_t claimed = v4 ? size_t{bytes[2]} << 8 | bytes[3] : 40 + (size_t{bytes[4]} << 8 | bytes[5]);
    require(claimed == bytes.size());
    if (v4) require(bytes[12] == 10 && bytes[13] == 0);
    if (!v4) require(bytes[8] == 0xfd && bytes[9] == 0);
    require((packet.packets > 1) == (packet.offload.gso != io::GsoType::none));
    packets += packet.packets;
  }

  const Outer& outer_;
  io::InnerCounters counters_;
};

// One end with one peer, whose allowed IPs are 10.0.0.0/16 and fd00::/16.
struct Receiver {
  Receiver() {
    std::array<uint8_t, 32> key{};
    key[0] = 7;
    uint32_t next = 0x01020304;
    const uint32_t index = index_table.insert_handshake(&path, protocol::top_byte_of(next), [&next] { return next++; });
    auto made = std::make_unique<protocol::Keypair>(protocol::KeypairParameters{
        .sending_key = crypto::Secret<32>(key),
        .receiving_key = crypto::Secret<32>(key),
        .created = kNow,
        .local_index = index,
        .remote_index = index,
        .i_am_initiator = false,
        .owner = &path,
    });
    keypair = made.get();
    index_table.insert_keypair(keypair);
    retired = keypairs.add(std::move(made));
    allowed_ips.insert({{10, 0}, protocol::IpVersion::v4, 16}, &path);
    allowed_ips.insert({{0xfd, 0}, protocol::IpVersion::v6, 16}, &path);
    published.allowed_ips = &allowed_ips;
    published.index_table = &index_table;
    published.mac1_key = &mac1_key;
    require(static_cast<bool>(wakeup));
  }

  protocol::Keypairs keypairs;
  protocol::Timers timers;
  pipeline::PeerPath path{1, 0, keypairs, timers.marks()};
  protocol::IndexTable index_table;
  protocol::Keypair* keypair = nullptr;
  protocol::RetiredKeypairs retired;
  protocol::AllowedIps allowed_ips;
  protocol::StaticIdentity identity{protocol::PrivateKey(std::array<uint8_t, 32>{1})};
  protocol::Mac1Key mac1_key{identity.public_key()};
  pipeline::Published published;
  io::Result<io::Wakeup> wakeup = io::Wakeup::open();
  pipeline::Mailbox mailbox{*wakeup};
  pipeline::WorkerStats stats;
  pipeline::Inbound inbound{published, mailbox, stats};
};

Bytes seal(Receiver& receiver, const Bytes& plaintext) {
  uint64_t counter = 0;
  require(receiver.keypair->reserve(1, counter));
  const protocol::TransportHeader header = {4, receiver.keypair->local_index(), counter};
  Bytes message(plaintext.size() + protocol::kTransportOverhead);
  std::memcpy(message.data(), &header, sizeof header);
  const crypto::SealMessage one = {receiver.keypair->receiving_key(), counter, plaintext.data(),
                                   message.data() + sizeof header, static_cast<uint32_t>(plaintext.size())};
  crypto::seal({&one, 1});
  return message;
}

Bytes ip_packet(std::span<const uint8_t> payload, bool v6) {
  Bytes packet(v6 ? 40 : 20);
  packet.insert(packet.end(), payload.begin(), payload.end());
  const size_t length = v6 ? payload.size() : packet.size();
  packet[0] = v6 ? 0x60 : 0x45;
  packet[v6 ? 4 : 2] = static_cast<uint8_t>(length >> 8);
  packet[v6 ? 5 : 3] = static_cast<uint8_t>(length);
  if (v6) packet[8] = packet[24] = 0xfd;
  if (!v6) packet[12] = packet[16] = 10;
  if (!v6) packet[6] = 0x40;
  packet[v6 ? 7 : 8] = 64;
  packet[v6 ? 6 : 9] = payload.empty() || payload[0] % 2 == 0 ? 6 : 17;
  return packet;
}

Bytes make_datagram(Receiver& receiver, uint8_t making, std::span<const uint8_t> bytes, Bytes& last) {
  Bytes made(bytes.begin(), bytes.end());
  switch (making) {
    case kPlaintext:
      return last = seal(receiver, made);
    case kIpPacket:
    case kAuthentic6:
      return last = seal(receiver, ip_packet(bytes, making == kAuthentic6));
    case kForged: {
      made = seal(receiver, made);
      made.back() ^= 1;
      return made;
    }
    case kReplayed:
      return last;
    case kKeepalive:
      return last = seal(receiver, {});
    case kInitiation: {
      made.resize(sizeof(protocol::HandshakeInitiation));
      const std::array<uint8_t, 4> type = {1, 0, 0, 0};
      std::copy(type.begin(), type.end(), made.begin());
      const protocol::Mac mac1 = receiver.mac1_key.compute(made);
      std::copy(mac1.begin(), mac1.end(), made.begin() + offsetof(protocol::HandshakeInitiation, macs.mac1));
      return made;
    }
    default:
      return made;
  }
}

// Puts the datagram behind the last train, or begins one: UDP_GRO joins as long as the sizes allow.
void append(std::deque<Train>& trains, const Bytes& datagram, bool begin, uint8_t traffic_class) {
  const bool open = !trains.empty() && !begin && trains.back().segment_size != 0 &&
                    trains.back().bytes.size() % trains.back().segment_size == 0 &&
                    datagram.size() <= trains.back().segment_size && !datagram.empty() &&
                    trains.back().bytes.size() + datagram.size() <= 65535 &&
                    trains.back().bytes.size() / trains.back().segment_size < Outer::kMostDatagrams;
  if (!open) trains.push_back({{}, static_cast<uint16_t>(datagram.size()), traffic_class});
  trains.back().bytes.insert(trains.back().bytes.end(), datagram.begin(), datagram.end());
}

void read_mailbox(Receiver& receiver) {
  pipeline::HandshakeDatagram handshake;
  while (receiver.mailbox.handshakes.try_pop(handshake)) {
    require(handshake.length <= handshake.bytes.size());
    const std::span<const uint8_t> bytes(handshake.bytes.data(), handshake.length);
    const protocol::MessageKind kind = protocol::classify(bytes);
    require(protocol::is_handshake(kind));
    if (kind != protocol::MessageKind::handshake_initiation) continue;
    // Nobody has a key to make a good one, short of a small-order point, which is refused.
    require(
        !protocol::open_initiation(receiver.identity, protocol::read_message<protocol::HandshakeInitiation>(bytes)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  Receiver receiver;
  Outer outer;
  Inner inner(outer);
  std::span<const uint8_t> left(bytes, length);
  if (left.empty()) return 0;
  const bool superpackets = (left[0] & 1) != 0;
  inner.takes = {superpackets, superpackets, superpackets, superpackets, superpackets};
  left = left.subspan(1);
  Bytes last;
  uint64_t datagrams = 0;
  while (left.size() >= 3 && datagrams < kMaxDatagrams) {
    const uint8_t making = left[0] & 0x0f;
    const bool begin = (left[0] & 0x10) != 0;
    const auto traffic_class = static_cast<uint8_t>(left[0] >> 5);
    const size_t size = std::min<size_t>((size_t{left[1]} << 8 | left[2]) % 9000, left.size() - 3);
    const Bytes made = make_datagram(receiver, making % kMakings, left.subspan(3, size), last);
    append(outer.trains, made, begin, traffic_class);
    left = left.subspan(3 + size);
    ++datagrams;
  }
  while (receiver.inbound.run(inner, outer, kNow) > 0) {
  }
  // Every datagram is accounted for once: dropped, passed on, or a keepalive.
  uint64_t drops = 0;
  for (const pipeline::Counter& counter : receiver.stats.drops) drops += counter.get();
  require(drops + inner.packets + receiver.stats.keepalives_received.get() + receiver.mailbox.handshakes.size() ==
          datagrams);
  read_mailbox(receiver);
  return 0;
}
