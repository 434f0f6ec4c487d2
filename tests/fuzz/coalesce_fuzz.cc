// Joining what a hostile peer sends: cutting gives every flow back, in order, with right checksums.
// Input: a program of two-byte steps that builds packets of up to eight flows. The first byte picks the flow
// (3 bits) and what is odd about this packet (5 bits), the second says how odd.
#include "src/packet/coalesce.h"

#include <cstdlib>
#include <map>

#include "src/packet/segment.h"
#include "tests/packet/packets.h"

namespace {

using culvert::io::GatheredPacket;
using culvert::packet::Coalescer;
using culvert::packet::SegmentError;
using culvert::packet::SegmentPlan;
using culvert::packet::test::Bytes;
using culvert::packet::test::PacketSpec;
namespace test = culvert::packet::test;

void require(bool holds) {
  if (!holds) std::abort();
}

// The next packet of `flow`. Whatever is done to it, its total length stays right: add() requires that.
Bytes next_packet(PacketSpec& flow, uint8_t odd, uint8_t how) {
  PacketSpec spec = flow;
  switch (odd) {
    case 1:
      spec.flags |= 0x08;
      break;
    case 2:
      spec.flags = how;
      break;
    case 3:
      spec.payload_bytes = how;
      break;
    case 4:
      spec.tos = how;
      break;
    case 5:
      spec.ttl = how;
      break;
    case 6:
      flow.ack += how;
      break;
    case 7:
      spec.sequence += how;
      break;
    case 8:
      flow.id = static_cast<uint16_t>(flow.id + how);
      break;
    case 9:
      flow.window = how;
      break;
    case 10:
      flow.payload_bytes = size_t{how} * 8;
      break;
    case 11:
      flow.dont_fragment = (how & 1) != 0;
      break;
    case 12:
      flow.sequence = 0u - how;
      break;
    case 13:
      spec.tcp_options.resize(how % 11 * 4u, how);
      break;
    case 14:
      flow.flow_label = how;
      break;
    case 15:
      flow.id = 0;
      spec.id = 0;
      break;
    default:
      break;
  }
  Bytes packet = test::make_packet(spec);
  if (odd == 16) packet[how % packet.size()] ^= 0x10;
  if (odd == 17) packet.resize(packet.size() - std::min<size_t>(how, packet.size() - 1));
  if (odd == 18) packet[spec.v6 ? 6 : 9] = how;
  if (odd == 19 && !spec.v6) packet[6] = how;
  packet[0] = static_cast<uint8_t>((spec.v6 ? 0x60 : 0x40) | (packet[0] & 15));
  if (packet.size() >= 8)
    test::put16(packet, spec.v6 ? 4 : 2, static_cast<unsigned>(packet.size() - (spec.v6 ? 40 : 0)));
  flow.sequence += static_cast<uint32_t>(spec.payload_bytes);
  if (odd != 15) flow.id++;
  return packet;
}

// What of a packet joining must keep: all but checksums, and the id where RFC 6864 gives it no meaning.
Bytes kept(Bytes packet) {
  if (packet[0] >> 4 == 4 && (packet[6] & 0x40) != 0) test::put16(packet, 4, 0);
  return test::without_checksums(std::move(packet));
}

using Flows = std::map<std::string, std::vector<Bytes>>;

void take_in(const GatheredPacket& gathered, Flows& flows) {
  Bytes whole;
  for (const iovec& part : gathered.parts) {
    const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
    whole.insert(whole.end(), bytes, bytes + part.iov_len);
  }
  require(whole.size() == gathered.length && whole.size() <= 65535 && gathered.parts.size() < 1024);
  if (gathered.packets == 1) {
    require(!gathered.offload.needs_checksum);
    if (whole.size() >= 44) flows[test::flow_of(whole)].push_back(kept(whole));
    return;
  }
  SegmentPlan plan;
  require(plan.plan({whole.data(), gathered.length, gathered.offload}) == SegmentError::none);
  require(plan.count() == gathered.packets);
  for (uint32_t i = 0; i < plan.count(); ++i) {
    Bytes segment(plan.length(i));
    plan.write(i, segment.data());
    require(test::checksums_are_right(segment));
    if (segment.size() >= 44) flows[test::flow_of(segment)].push_back(kept(segment));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  static Coalescer coalescer;
  constexpr culvert::io::InnerOffloads kAll = {true, true, true, true, true};
  std::vector<PacketSpec> specs(8);
  for (size_t i = 0; i < specs.size(); ++i) {
    specs[i].v6 = (i & 1) != 0;
    specs[i].tcp = (i & 2) == 0;
    specs[i].source_port = static_cast<uint16_t>(i);
    specs[i].id = 100;
  }
  std::vector<Bytes> packets;
  for (size_t i = 0; i + 1 < length && packets.size() < Coalescer::kMaxPackets; i += 2)
    packets.push_back(next_packet(specs[bytes[i] & 7], bytes[i] >> 3, bytes[i + 1]));
  Flows sent, received;
  for (const Bytes& packet : packets)
    if (packet.size() >= 44) sent[test::flow_of(packet)].push_back(kept(packet));
  for (Bytes& packet : packets) coalescer.add(packet.data(), static_cast<uint32_t>(packet.size()), kAll);
  size_t total = 0;
  for (const GatheredPacket& gathered : coalescer.finish()) {
    take_in(gathered, received);
    total += gathered.packets;
  }
  coalescer.clear();
  require(total == packets.size() && sent == received);
  return 0;
}
