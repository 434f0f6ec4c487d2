// The whole outbound path from memory to memory: superpackets as a TUN device hands them over become trains
// of sealed messages.
//
// A benchmark is called KIND/SIZE/superpackets_of:SEGMENTS/batch:SUPERPACKETS. One iteration is as many
// batches as make some 256 messages. `aead` is the time of sealing messages of the same lengths alone, by
// turns with the path, and `other` what the path costs beside it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <list>
#include <string>
#include <vector>

#include "bench/data_path_ends.h"
#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "crypto/aead.h"
#include "src/protocol/messages.h"

namespace culvert::bench {
namespace {

using Kind = InnerPacket::Kind;

// As many as TunQueue reads at a time: 16, and 256 KiB.
constexpr size_t kReads = 16;
constexpr size_t kSuperpackets = 4;
constexpr size_t kSealBatch = 64;  // as Outbound has it

constexpr size_t kMessages = 256;  // of an iteration, at least

struct Case {
  Kind kind;
  PacketMix mix;
  uint32_t segments;  // 1: packets that are not to be cut
  size_t batch;
};

// Superpackets in memory as a TUN queue has read them.
class Superpackets {
 public:
  explicit Superpackets(const Case& what) {
    for (size_t i = 0; i < what.batch * what.mix.bytes.size(); ++i) {
      InnerPacket packet = in_order(what.kind, what.mix.at(i));
      const uint32_t payload_bytes = packet.payload_bytes;
      packet.payload_bytes *= what.segments;
      Bytes& bytes = packets_.emplace_back(make_superpacket(packet));
      views_.push_back(view_of(bytes, packet, static_cast<uint16_t>(what.segments > 1 ? payload_bytes : 0)));
      total_bytes_ += what.mix.at(i) * what.segments;
    }
  }

  [[nodiscard]] const std::vector<io::Superpacket>& views() const { return views_; }
  // Of a packet once it is cut.
  [[nodiscard]] double mean_bytes(uint32_t segments) const {
    return static_cast<double>(total_bytes_) / static_cast<double>(views_.size() * segments);
  }

 private:
  std::list<Bytes> packets_;
  std::vector<io::Superpacket> views_;
  size_t total_bytes_ = 0;
};

// The messages that batches become, to be sealed without the path.
class Messages {
 public:
  explicit Messages(const protocol::Keypair& keypair) : key_(keypair.sending_key()) {}

  void add_batch(const std::vector<uint32_t>& lengths) {
    size_t bytes = 0;
    for (const uint32_t length : lengths) bytes += length + protocol::kTransportOverhead;
    uint8_t* at = memory_.emplace_back(bytes).data() + sizeof(protocol::TransportHeader);
    std::vector<crypto::SealMessage>& batch = batches_.emplace_back();
    for (const uint32_t length : lengths) {
      batch.push_back({key_, batch.size(), at, at, length});
      at += length + protocol::kTransportOverhead;
    }
  }

  void seal_batch(size_t i) {
    const std::span<const crypto::SealMessage> batch(batches_[i % batches_.size()]);
    for (size_t at = 0; at < batch.size(); at += kSealBatch)
      crypto::seal(batch.subspan(at, std::min(kSealBatch, batch.size() - at)));
  }

 private:
  const uint8_t* key_;
  std::list<Bytes> memory_;
  std::vector<std::vector<crypto::SealMessage>> batches_;
};

void outbound(benchmark::State& state, const Case& what) {
  const Superpackets superpackets(what);
  DataPathEnd end;
  PreparedInner inner(superpackets.views(), what.batch);
  PreparedOuter outer;
  const auto run = [&] {
    size_t read = 0;
    (void)end.outbound().run(inner, &outer, DataPathEnd::kNow, read);
  };

  Messages messages(end.keypair());
  outer.remember_lengths(true);
  for (size_t i = 0; i < what.mix.bytes.size(); ++i) {
    run();
    messages.add_batch(outer.take_lengths());
  }
  outer.remember_lengths(false);

  const size_t before = outer.datagrams_sent();
  const size_t batches = (kMessages + what.batch * what.segments - 1) / (what.batch * what.segments);
  CpuClock::duration all{}, aead{};
  for (auto _ : state) {
    const auto start = CpuClock::now();
    for (size_t i = 0; i < batches; ++i) run();
    const auto half = CpuClock::now();
    for (size_t i = 0; i < batches; ++i) messages.seal_batch(i);
    const auto stop = CpuClock::now();
    all += half - start - CpuClock::cost();
    aead += stop - half - CpuClock::cost();
    set_iteration_time(state, start, half);
  }
  const size_t sent = outer.datagrams_sent() - before;
  if (sent != static_cast<size_t>(state.iterations()) * batches * what.batch * what.segments) {
    state.SkipWithError("a packet was dropped");
    return;
  }
  const auto packets = static_cast<double>(sent);
  report(state, packets, packets * superpackets.mean_bytes(what.segments));
  report_share(state, packets, all, aead);
}

void add(Kind kind, const PacketMix& mix, uint32_t segments, size_t batch) {
  const std::string name = std::string(name_of(kind)) + "/" + mix.name +
                           "/superpackets_of:" + std::to_string(segments) + "/batch:" + std::to_string(batch);
  benchmark::RegisterBenchmark(name.c_str(), [what = Case{kind, mix, segments, batch}](benchmark::State& state) {
    outbound(state, what);
  })->UseManualTime();
}

}  // namespace

void register_benchmarks() {
  const PacketMix full{"1420", {1420}}, small{"64", {64}};
  for (const Kind kind : {Kind::tcp4, Kind::tcp6, Kind::udp4, Kind::udp6})
    for (const size_t batch : {size_t{1}, kSuperpackets}) add(kind, full, 65535 / 1420, batch);
  for (const Kind kind : {Kind::udp4, Kind::udp6}) add(kind, small, 64, kReads);
  for (const PacketMix& mix : packet_mixes())
    for (const size_t batch : {size_t{1}, size_t{4}, kReads}) add(Kind::udp4, mix, 1, batch);
  for (const size_t batch : {size_t{1}, kReads}) add(Kind::tcp4, {"acknowledgement", {40}}, 1, batch);
}

}  // namespace culvert::bench
