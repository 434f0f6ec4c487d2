// Joining what a hostile peer sends: cutting gives every flow back, in order and byte for byte, save for what
// test::after_joining() says. A packet that was not joined has not changed at all.
// Input: a program of two-byte steps that builds packets of up to eight flows. The first byte picks the flow
// (3 bits) and what is odd about this packet (5 bits), the second says how odd.
#include "src/packet/coalesce.h"

#include <cstdlib>
#include <deque>
#include <map>
#include <string>

#include "src/packet/segment.h"
#include "tests/packet/packets.h"

namespace {

using culvert::io::GatheredPacket;
using culvert::packet::Coalescer;
using culvert::packet::IpError;
using culvert::packet::IpHeader;
using culvert::packet::parse_ip;
using culvert::packet::SegmentError;
using culvert::packet::SegmentPlan;
using culvert::packet::test::Bytes;
using culvert::packet::test::PacketSpec;
namespace test = culvert::packet::test;

void require(bool holds) {
  if (!holds) std::abort();
}

// Flips a bit anywhere but in the version and the total length.
void spoil(Bytes& packet, uint8_t how, bool v6) {
  const size_t at = how % packet.size();
  const size_t length_at = v6 ? 4 : 2;
  if (at != 0 && at != length_at && at != length_at + 1) packet[at] ^= 0x10;
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
  if (odd == 17) packet.resize(packet.size() - std::min<size_t>(how, packet.size() - 1));
  if (odd == 18) packet[spec.v6 ? 6 : 9] = how;
  if (odd == 19 && !spec.v6) packet[6] = how;
  packet[0] = static_cast<uint8_t>((spec.v6 ? 0x60 : 0x40) | (packet[0] & 15));
  if (packet.size() >= 8)
    test::put16(packet, spec.v6 ? 4 : 2, static_cast<unsigned>(packet.size() - (spec.v6 ? 40 : 0)));
  // The IP checksum fits what was done so far, so that this is joined where it can be.
  if (odd >= 17 && odd <= 19 && !spec.v6 && packet.size() >= test::ip_header_bytes(packet))
    test::finish_ip_checksum(packet);
  if (odd == 16) spoil(packet, how, spec.v6);
  if (odd == 20 && !spec.v6) packet[10 + how % 2] ^= static_cast<uint8_t>(how | 1);
  if (odd == 21 && !spec.v6) test::put16(packet, 10, how % 2 != 0 ? 0xffff : 0);
  flow.sequence += static_cast<uint32_t>(spec.payload_bytes);
  if (odd != 15) flow.id++;
  return packet;
}

// The packets of each flow that have not come back yet. Those too short to have ports are a flow of their own.
using Flows = std::map<std::string, std::deque<Bytes>>;

std::string flow_of(const Bytes& packet) {
  return packet.size() < (packet[0] >> 4 == 6 ? 44 : 24) ? std::string() : test::flow_of(packet);
}

void take_in(const GatheredPacket& gathered, Flows& missing) {
  Bytes whole;
  for (const iovec& part : gathered.parts) {
    const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
    whole.insert(whole.end(), bytes, bytes + part.iov_len);
  }
  require(whole.size() == gathered.length && whole.size() <= 65535 && gathered.parts.size() < 1024);
  const auto give_back = [&missing](const Bytes& packet, bool joined) {
    std::deque<Bytes>& flow = missing[flow_of(packet)];
    require(!flow.empty() && packet == (joined ? test::after_joining(flow.front(), packet) : flow.front()));
    flow.pop_front();
  };
  if (gathered.packets == 1) {
    require(!gathered.offload.needs_checksum);
    give_back(whole, false);
    return;
  }
  SegmentPlan plan;
  require(plan.plan({whole.data(), gathered.length, gathered.offload, {}}) == SegmentError::none);
  require(plan.count() == gathered.packets);
  for (uint32_t i = 0; i < plan.count(); ++i) {
    Bytes segment(plan.length(i));
    plan.write(i, segment.data());
    give_back(segment, true);
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
  std::deque<Bytes> packets;
  Flows missing;
  for (size_t i = 0; i + 1 < length && packets.size() < Coalescer::kMaxPackets; i += 2) {
    Bytes packet = next_packet(specs[bytes[i] & 7], bytes[i] >> 3, bytes[i + 1]);
    IpHeader ip;
    if (parse_ip(packet, ip) != IpError::none) continue;  // Inbound drops it
    missing[flow_of(packet)].push_back(packet);
    packets.push_back(std::move(packet));
    coalescer.add(packets.back().data(), ip, kAll);
  }
  for (const GatheredPacket& gathered : coalescer.finish()) take_in(gathered, missing);
  coalescer.clear();
  for (const auto& [name, flow] : missing) require(flow.empty());
  return 0;
}
