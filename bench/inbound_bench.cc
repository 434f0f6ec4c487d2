// The whole inbound path from memory to memory: trains of sealed messages become superpackets.
//
// A benchmark is called KIND/SIZE/trains_of:DATAGRAMS/batch:TRAINS. One iteration is as many batches as make
// some 256 messages; they are sealed afresh for each, apart from its time. `aead` is the time of opening the
// same messages alone, by turns with the path, and `other` what the path costs beside it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bench/data_path_ends.h"
#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "crypto/aead.h"
#include "io/udp_side.h"
#include "src/protocol/messages.h"

namespace culvert::bench {
namespace {

using Kind = InnerPacket::Kind;

constexpr size_t kMessages = 256;   // of an iteration, at least
constexpr size_t kOpenBatch = 256;  // as Inbound has it
constexpr size_t kMtu = 1420;
constexpr size_t kTrains = io::UdpSide::kBuffers;

struct Case {
  Kind kind;
  PacketMix mix;
  size_t datagrams;  // of a train
  size_t trains;     // of a batch

  [[nodiscard]] size_t batches() const { return (kMessages + datagrams * trains - 1) / (datagrams * trains); }
};

// The trains of an iteration, each in a buffer of its own as a UDP queue receives them.
class SealedTrains {
 public:
  SealedTrains(const Case& what, const protocol::Keypair& keypair, const io::Endpoint& from) : keypair_(keypair) {
    uint32_t number = 0;
    for (size_t i = 0; i < what.batches() * what.trains; ++i) {
      Bytes& buffer = buffers_.emplace_back(what.datagrams * kMaxDatagram + io::kTailroom);
      uint8_t* at = buffer.data();
      for (size_t datagram = 0; datagram < what.datagrams; ++datagram, ++number) {
        Bytes& packet = packets_.emplace_back(make_packet(in_order(what.kind, what.mix.at(number), number)));
        bytes_ += packet.size();
        packet.resize(protocol::padded_length(packet.size(), kMtu));
        to_seal_.push_back({keypair.sending_key(), 0, packet.data(), at + sizeof(protocol::TransportHeader),
                            static_cast<uint32_t>(packet.size())});
        at += packet.size() + protocol::kTransportOverhead;
      }
      const auto length = static_cast<uint32_t>(at - buffer.data());
      trains_.push_back({buffer.data(), length, static_cast<uint32_t>(length / what.datagrams), {from, 51820, 0}});
    }
  }
  SealedTrains(const SealedTrains&) = delete;
  SealedTrains& operator=(const SealedTrains&) = delete;

  // Seals all of them with counters that were never used.
  void seal() {
    for (crypto::SealMessage& message : to_seal_) {
      message.counter = counter_++;
      const protocol::TransportHeader header = {static_cast<uint32_t>(protocol::MessageType::transport_data),
                                                keypair_.local_index(), message.counter};
      std::memcpy(message.destination - sizeof header, &header, sizeof header);
    }
    crypto::seal(to_seal_);
  }

  // All of them, to be opened without the path.
  [[nodiscard]] std::vector<crypto::OpenMessage> to_open() const {
    std::vector<crypto::OpenMessage> messages;
    for (const crypto::SealMessage& message : to_seal_)
      messages.push_back(
          {message.key, message.counter, message.destination, message.destination, message.length, false});
    return messages;
  }

  [[nodiscard]] const std::vector<IncomingTrain>& trains() const { return trains_; }
  [[nodiscard]] size_t messages() const { return to_seal_.size(); }
  [[nodiscard]] size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kMaxDatagram = kMtu + protocol::kTransportOverhead;

  const protocol::Keypair& keypair_;
  std::vector<Bytes> buffers_;
  std::vector<Bytes> packets_;
  std::vector<crypto::SealMessage> to_seal_;
  std::vector<IncomingTrain> trains_;
  size_t bytes_ = 0;
  uint64_t counter_ = 0;
};

// The time of opening all of them in batches, and nothing else.
CpuClock::duration time_to_open(SealedTrains& trains, size_t batch) {
  trains.seal();
  std::vector<crypto::OpenMessage> messages = trains.to_open();
  const auto start = CpuClock::now();
  for (size_t i = 0; i < messages.size(); i += batch)
    benchmark::DoNotOptimize(crypto::open(std::span(messages).subspan(i, std::min(batch, messages.size() - i))));
  return CpuClock::now() - start - CpuClock::cost();
}

void inbound(benchmark::State& state, const Case& what) {
  DataPathEnd end;
  SealedTrains trains(what, end.keypair(), end.endpoint());
  PreparedOuter outer(trains.trains(), what.trains);
  PreparedInner inner;
  CpuClock::duration all{}, aead{};
  for (auto _ : state) {
    trains.seal();
    outer.rewind();
    const auto start = CpuClock::now();
    for (size_t batch = 0; batch < what.batches(); ++batch) (void)end.inbound().run(inner, outer, DataPathEnd::kNow);
    const auto stop = CpuClock::now();
    all += stop - start - CpuClock::cost();
    set_iteration_time(state, start, stop);
    aead += time_to_open(trains, std::min(kOpenBatch, what.datagrams * what.trains));
  }
  const auto iterations = static_cast<size_t>(state.iterations());
  if (inner.packets_written() != iterations * trains.messages()) {
    state.SkipWithError("a packet was dropped");
    return;
  }
  const auto packets = static_cast<double>(inner.packets_written());
  report(state, packets, static_cast<double>(iterations * trains.bytes()));
  report_share(state, packets, all, aead);
  state.counters["packets_per_write"] = packets / static_cast<double>(inner.written());
}

void add(Kind kind, const PacketMix& mix, size_t datagrams, size_t trains) {
  const std::string name = std::string(name_of(kind)) + "/" + mix.name + "/trains_of:" + std::to_string(datagrams) +
                           "/batch:" + std::to_string(trains);
  benchmark::RegisterBenchmark(name.c_str(), [what = Case{kind, mix, datagrams, trains}](benchmark::State& state) {
    inbound(state, what);
  })->UseManualTime();
}

}  // namespace

void register_benchmarks() {
  const PacketMix full{"1420", {1420}}, small{"64", {64}};
  for (const Kind kind : {Kind::tcp4, Kind::tcp6, Kind::udp4, Kind::udp6})
    for (const size_t trains : {size_t{1}, kTrains}) add(kind, full, 65535 / 1452, trains);
  for (const Kind kind : {Kind::udp4, Kind::udp6}) add(kind, small, 64, kTrains);
  for (const PacketMix& mix : packet_mixes())
    for (const size_t trains : {size_t{1}, kTrains}) add(Kind::udp4, mix, 1, trains);
  for (const size_t trains : {size_t{1}, kTrains}) add(Kind::tcp4, {"acknowledgement", {40}}, 1, trains);
}

}  // namespace culvert::bench
