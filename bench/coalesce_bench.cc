// Joining opened packets into superpackets: traffic as one likes it, and traffic that gains nothing.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "bench/cpu_clock.h"
#include "bench/inner_traffic.h"
#include "bench/main.h"
#include "bench/report.h"
#include "src/packet/coalesce.h"

namespace culvert::bench {
namespace {

using Kind = InnerPacket::Kind;

constexpr uint32_t kPacketBytes = 1420;
constexpr size_t kSlotBytes = 1536;
constexpr uint32_t kBatch = 256;  // as many as Inbound opens at a time

InnerPacket full(Kind kind, uint32_t i = 0) {
  return in_order(kind, kPacketBytes, i);
}

InnerPacket of_flow(InnerPacket packet, uint32_t flow) {
  packet.source_port = static_cast<uint16_t>(packet.source_port + flow);
  return packet;
}

InnerPacket with_payload(InnerPacket packet, uint32_t payload_bytes) {
  packet.payload_bytes = payload_bytes;
  return packet;
}

InnerPacket of_imix(uint32_t i) {
  return in_order(Kind::udp4, packet_mixes()[1].at(i), i);
}

struct Traffic {
  const char* name;
  InnerPacket (*packet)(uint32_t i);
};

constexpr Traffic kTraffic[] = {
    {"one_flow/tcp4", [](uint32_t i) { return full(Kind::tcp4, i); }},
    {"one_flow/tcp6", [](uint32_t i) { return full(Kind::tcp6, i); }},
    {"one_flow/udp4", [](uint32_t i) { return full(Kind::udp4, i); }},
    {"one_flow/udp6", [](uint32_t i) { return full(Kind::udp6, i); }},
    {"four_flows_interleaved/tcp4", [](uint32_t i) { return of_flow(full(Kind::tcp4, i / 4), i % 4); }},
    {"four_flows_interleaved/udp4", [](uint32_t i) { return of_flow(full(Kind::udp4, i / 4), i % 4); }},
    {"adverse/every_packet_its_own_flow", [](uint32_t i) { return of_flow(full(Kind::tcp4), i); }},
    {"adverse/backwards", [](uint32_t i) { return full(Kind::tcp4, kBatch - i); }},
    {"adverse/every_second_lost", [](uint32_t i) { return full(Kind::tcp4, 2 * i); }},
    {"adverse/bare_acknowledgements", [](uint32_t) { return with_payload(full(Kind::tcp4), 0); }},
    {"adverse/udp_lengths_all_differ", [](uint32_t i) { return with_payload(full(Kind::udp4, i), 1000 + i); }},
    {"small/one_flow/udp4/64", [](uint32_t i) { return in_order(Kind::udp4, 64, i); }},
    {"small/one_flow/tcp4/64", [](uint32_t i) { return in_order(Kind::tcp4, 64, i); }},
    {"small/one_flow/udp4/imix", [](uint32_t i) { return of_imix(i); }},
    {"small/own_flows/udp4/imix", [](uint32_t i) { return of_flow(of_imix(i), i); }},
    {"adverse/64_byte_udp_own_flows", [](uint32_t i) { return of_flow(with_payload(full(Kind::udp4, i), 36), i); }},
};

// The batch in its slots, with what Inbound has read of the headers before it asks the coalescer. The coalescer may
// write to headers: restore() undoes that.
class Batch {
 public:
  explicit Batch(const Traffic& traffic) : slots_(kBatch * kSlotBytes) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      packets_.push_back(make_packet(traffic.packet(i)));
      bytes_ += packets_.back().size();
      (void)packet::parse_ip(packets_.back(), headers_.emplace_back());
    }
    restore();
  }

  void restore() {
    for (uint32_t i = 0; i < kBatch; ++i) std::memcpy(packet(i), packets_[i].data(), packets_[i].size());
  }
  uint8_t* packet(uint32_t i) { return slots_.data() + i * kSlotBytes; }
  [[nodiscard]] const packet::IpHeader& header(uint32_t i) const { return headers_[i]; }
  [[nodiscard]] size_t bytes() const { return bytes_; }

 private:
  Bytes slots_;
  std::vector<Bytes> packets_;
  std::vector<packet::IpHeader> headers_;
  size_t bytes_ = 0;
};

void coalesce(benchmark::State& state, const Traffic& traffic) {
  constexpr io::InnerOffloads kAll{true, true, true, true, true};
  Batch batch(traffic);
  packet::Coalescer coalescer;
  size_t written = 0;
  for (auto _ : state) {
    batch.restore();
    const auto start = CpuClock::now();
    for (uint32_t i = 0; i < kBatch; ++i) coalescer.add(batch.packet(i), batch.header(i), kAll);
    written = coalescer.finish().size();
    coalescer.clear();
    set_iteration_time(state, start, CpuClock::now());
  }
  const auto iterations = static_cast<double>(state.iterations());
  report(state, iterations * kBatch, iterations * static_cast<double>(batch.bytes()));
  state.counters["packets_per_write"] = static_cast<double>(kBatch) / static_cast<double>(written);
}

}  // namespace

void register_benchmarks() {
  for (const Traffic& traffic : kTraffic) {
    benchmark::RegisterBenchmark(
        traffic.name, [&traffic](benchmark::State& state) { coalesce(state, traffic); })
        ->UseManualTime();
  }
}

}  // namespace culvert::bench
