// Cutting a hostile superpacket: what is refused plans nothing; what is accepted gives whole, valid packets.
// Input: nine bytes of offload (type, GSO size, checksum start and offset, length of the hint), then the packet.
#include "src/packet/segment.h"

#include <cstdlib>

#include "tests/packet/packets.h"

namespace {

using culvert::io::GsoType;
using culvert::io::Superpacket;
using culvert::packet::SegmentError;
using culvert::packet::SegmentPlan;
using culvert::packet::test::Bytes;
namespace test = culvert::packet::test;

void require(bool holds) {
  if (!holds) std::abort();
}

// The bytes behind the headers of a packet without v6 extension headers.
Bytes payload_of(const Bytes& packet, GsoType gso) {
  const size_t ip = test::ip_header_bytes(packet);
  const size_t transport = gso == GsoType::tcp ? (packet[ip + 12] >> 4) * 4u : 8u;
  return Bytes(packet.begin() + static_cast<long>(ip + transport), packet.end());
}

void check_segments(const Superpacket& packet, const SegmentPlan& plan) {
  const GsoType gso = packet.offload.gso;
  Bytes payload;
  bool extended = false;
  for (uint32_t i = 0; i < plan.count(); ++i) {
    require(plan.length(i) <= 65535 && plan.length(i) >= 20);
    require(plan.length(i) == plan.length(0) || i + 1 == plan.count());
    Bytes segment(plan.length(i));
    plan.write(i, segment.data());
    const bool v6 = segment[0] >> 4 == 6;
    require(segment.size() == (v6 ? 40 + test::get16(segment, 4) : test::get16(segment, 2)));
    if (gso == GsoType::none) continue;
    extended = v6 && segment[6] != 6 && segment[6] != 17;
    if (extended) continue;
    require(test::checksums_are_right(segment));
    const Bytes piece = payload_of(segment, gso);
    require(piece.size() <= packet.offload.gso_size);
    payload.insert(payload.end(), piece.begin(), piece.end());
  }
  if (gso == GsoType::none || extended) return;
  Bytes whole(packet.bytes, packet.bytes + packet.length);
  const bool v6 = whole[0] >> 4 == 6;
  whole.resize(v6 ? 40 + test::get16(whole, 4) : test::get16(whole, 2));
  require(payload == payload_of(whole, gso));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  constexpr size_t kOffloadBytes = 9;
  if (length < kOffloadBytes || length > 70000) return 0;
  const std::span<const uint8_t> offload(bytes, kOffloadBytes);
  Bytes copy(bytes + kOffloadBytes, bytes + length);
  Superpacket packet;
  packet.bytes = copy.data();
  packet.length = static_cast<uint32_t>(copy.size());
  packet.offload.gso = static_cast<GsoType>(offload[0] % 3);
  packet.offload.needs_checksum = (offload[0] & 0x80) != 0;
  packet.offload.gso_size = static_cast<uint16_t>(test::get16(offload, 1));
  packet.offload.checksum_start = static_cast<uint16_t>(test::get16(offload, 3));
  packet.offload.checksum_offset = static_cast<uint16_t>(test::get16(offload, 5));
  packet.offload.header_length = static_cast<uint16_t>(test::get16(offload, 7));
  const Bytes before = copy;
  SegmentPlan plan;
  const SegmentError error = plan.plan(packet);
  require((error == SegmentError::none) == (plan.count() > 0));
  if (error == SegmentError::none) check_segments(packet, plan);
  require(copy == before);
  return 0;
}
