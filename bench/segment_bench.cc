// Cutting 64 KiB superpackets into packets of 1420 bytes, checksums included, beside a memcpy of as many
// bytes.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "tun/segment.h"

namespace culvert::bench {
namespace {

constexpr uint32_t kPacketBytes = 1420;
constexpr uint32_t kSlotBytes = kPacketBytes + 32;  // with room for header and tag
constexpr uint32_t kMaxSegments = 64;

struct Traffic {
  const char* name;
  InnerPacket::Kind kind;
};

constexpr Traffic kTraffic[] = {
    {"tcp4", InnerPacket::Kind::tcp4},
    {"tcp6", InnerPacket::Kind::tcp6},
    {"udp4", InnerPacket::Kind::udp4},
    {"udp6", InnerPacket::Kind::udp6},
};

// How many superpackets take turns: one stays in L2, 64 (8 MiB with what they become) do not.
constexpr int64_t kHot = 1;
constexpr int64_t kCold = 64;

// Superpackets and the trains they are cut into.
class Workload {
 public:
  Workload(InnerPacket::Kind kind, int64_t count)
      : gso_size_(static_cast<uint16_t>(kPacketBytes - header_bytes(kind))),
        trains_(count, Bytes(kTrainBytes)) {
    InnerPacket packet;
    packet.kind = kind;
    packet.payload_bytes = 65535 / kPacketBytes * gso_size_;
    for (int64_t i = 0; i < count; ++i) superpackets_.push_back(make_superpacket(packet));
    for (Bytes& superpacket : superpackets_) views_.push_back(view_of(superpacket, packet, gso_size_));
  }

  void advance() { at_ = at_ + 1 == views_.size() ? 0 : at_ + 1; }
  [[nodiscard]] const io::Superpacket& superpacket() const { return views_[at_]; }
  uint8_t* train() { return trains_[at_].data(); }

 private:
  static constexpr size_t kTrainBytes = size_t{kMaxSegments} * kSlotBytes;

  uint16_t gso_size_;
  std::vector<Bytes> superpackets_;
  std::vector<io::Superpacket> views_;
  std::vector<Bytes> trains_;
  size_t at_ = 0;
};

void segment(benchmark::State& state, InnerPacket::Kind kind) {
  Workload workload(kind, state.range(0));
  uint64_t packets = 0;
  uint64_t bytes = 0;
  for (auto _ : state) {
    workload.advance();
    tun::SegmentPlan plan;
    if (plan.plan(workload.superpacket()) != tun::SegmentError::none || plan.count() > kMaxSegments) {
      state.SkipWithError("the superpacket was refused");
      break;
    }
    for (uint32_t i = 0; i < plan.count(); ++i) {
      plan.write(i, workload.train() + size_t{i} * kSlotBytes);
      bytes += plan.length(i);
    }
    packets += plan.count();
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(packets), static_cast<double>(bytes));
}

// The floor: the same bytes into the same slots, no headers, no checksums.
void memcpy_alone(benchmark::State& state) {
  Workload workload(InnerPacket::Kind::tcp4, state.range(0));
  uint64_t packets = 0;
  for (auto _ : state) {
    workload.advance();
    const io::Superpacket& superpacket = workload.superpacket();
    for (uint32_t i = 0; i < superpacket.length / kPacketBytes; ++i, ++packets)
      std::memcpy(workload.train() + size_t{i} * kSlotBytes, superpacket.bytes + size_t{i} * kPacketBytes,
                  kPacketBytes);
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(packets), static_cast<double>(packets) * kPacketBytes);
}

}  // namespace

void register_benchmarks() {
  for (const Traffic& traffic : kTraffic) {
    benchmark::RegisterBenchmark((std::string("segment/") + traffic.name).c_str(),
                                 [&traffic](benchmark::State& state) { segment(state, traffic.kind); })
        ->ArgName("superpackets")
        ->Arg(kHot)
        ->Arg(kCold);
  }
  benchmark::RegisterBenchmark("memcpy", memcpy_alone)->ArgName("superpackets")->Arg(kHot)->Arg(kCold);
}

}  // namespace culvert::bench
