// Cutting superpackets into packets, checksums included, and passing on packets that are not to be cut;
// beside a memcpy of as many bytes.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "src/packet/segment.h"

namespace culvert::bench {
namespace {

constexpr uint32_t kPacketBytes = 1420;
constexpr uint32_t kRoom = 32;  // for header and tag
constexpr uint32_t kSlotBytes = kPacketBytes + kRoom;
constexpr uint32_t kMaxSegments = 64;

struct Traffic {
  InnerPacket::Kind kind;
  PacketMix mix;
  uint32_t segments;  // 1: packets that are not to be cut, whose checksums are to be finished
};

// How many superpackets take turns: one stays in L2, 64 of 64 KiB (8 MiB with what they become) do not.
constexpr int64_t kHot = 1;
constexpr int64_t kCold = 64;

// Superpackets, with what Outbound has read of their headers before it plans, and the trains they are cut into.
class Workload {
 public:
  Workload(const Traffic& traffic, size_t count) {
    count *= traffic.mix.bytes.size();
    for (size_t i = 0; i < count; ++i) {
      const uint32_t bytes = traffic.mix.at(i);
      InnerPacket packet = in_order(traffic.kind, bytes);
      const uint32_t payload_bytes = packet.payload_bytes;
      packet.payload_bytes *= traffic.segments;
      superpackets_.push_back(make_superpacket(packet));
      const uint32_t gso_size = traffic.segments > 1 ? payload_bytes : 0;
      views_.push_back(view_of(superpackets_.back(), packet, static_cast<uint16_t>(gso_size)));
      (void)packet::parse_ip(superpackets_.back(), headers_.emplace_back());
      trains_.emplace_back(size_t{traffic.segments} * (bytes + kRoom));
    }
  }

  void advance() { at_ = at_ + 1 == views_.size() ? 0 : at_ + 1; }
  [[nodiscard]] const io::Superpacket& superpacket() const { return views_[at_]; }
  [[nodiscard]] const packet::IpHeader& header() const { return headers_[at_]; }
  uint8_t* train() { return trains_[at_].data(); }

 private:
  std::vector<Bytes> superpackets_;
  std::vector<io::Superpacket> views_;
  std::vector<packet::IpHeader> headers_;
  std::vector<Bytes> trains_;
  size_t at_ = 0;
};

void segment(benchmark::State& state, const Traffic& traffic) {
  Workload workload(traffic, static_cast<size_t>(state.range(0)));
  uint64_t packets = 0;
  uint64_t bytes = 0;
  for (auto _ : state) {
    workload.advance();
    packet::SegmentPlan plan;
    const packet::SegmentError error = plan.plan(workload.superpacket(), workload.header());
    if (error != packet::SegmentError::none || plan.count() != traffic.segments) {
      state.SkipWithError("the superpacket was refused");
      break;
    }
    uint8_t* at = workload.train();
    for (uint32_t i = 0; i < plan.count(); ++i, at += plan.length(0) + kRoom) {
      plan.write(i, at);
      bytes += plan.length(i);
    }
    packets += plan.count();
    benchmark::ClobberMemory();
  }
  report(state, static_cast<double>(packets), static_cast<double>(bytes));
}

// The floor: the same bytes into the same slots, no headers, no checksums.
void memcpy_alone(benchmark::State& state) {
  Workload workload({InnerPacket::Kind::tcp4, {"1420", {kPacketBytes}}, 65535 / kPacketBytes},
                    static_cast<size_t>(state.range(0)));
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
  using Kind = InnerPacket::Kind;
  const PacketMix full{"1420", {kPacketBytes}}, small{"64", {64}};
  std::vector<Traffic> all;
  for (const Kind kind : {Kind::tcp4, Kind::tcp6, Kind::udp4, Kind::udp6})
    all.push_back({kind, full, 65535 / kPacketBytes});
  for (const Kind kind : {Kind::udp4, Kind::udp6}) all.push_back({kind, small, kMaxSegments});
  for (const PacketMix& mix : packet_mixes()) all.push_back({Kind::udp4, mix, 1});
  all.push_back({Kind::tcp4, {"acknowledgement", {40}}, 1});
  for (const Traffic& traffic : all) {
    const std::string name = std::string("segment/") + name_of(traffic.kind) + "/" + traffic.mix.name +
                             "/segments:" + std::to_string(traffic.segments);
    benchmark::RegisterBenchmark(name.c_str(), [traffic](benchmark::State& state) { segment(state, traffic); })
        ->ArgName("superpackets")
        ->Arg(kHot)
        ->Arg(kCold);
  }
  benchmark::RegisterBenchmark("memcpy", memcpy_alone)->ArgName("superpackets")->Arg(kHot)->Arg(kCold);
}

}  // namespace culvert::bench
