#include "bench/scale_sim/inner_flow.h"

#include <array>
#include <cassert>

#include "src/packet/header_fields.h"

namespace culvert::scale_sim {
namespace {

using packet::store_be16;
using packet::store_be32;

constexpr uint8_t kTcp = 6;
// 2001:db8::/64 (RFC 3849)
constexpr uint32_t kPrefix6 = 0x20010db8;

void store_address6(uint8_t* at, uint64_t low) {
  store_be32(at, kPrefix6);
  store_be32(at + 8, static_cast<uint32_t>(low >> 32));
  store_be32(at + 12, static_cast<uint32_t>(low));
}

}  // namespace

uint64_t hash_of(const InnerFlow& flow, const packet::FlowHashKey& key) {
  std::array<uint8_t, packet::kIpv6HeaderBytes + packet::kTcpHeaderBytes> bytes = {};
  uint8_t* const at = bytes.data();
  const uint32_t header_bytes = flow.v6 ? packet::kIpv6HeaderBytes : packet::kIpv4HeaderBytes;
  if (flow.v6) {
    at[0] = 0x60;
    store_be16(at + packet::kIpv6PayloadLength, packet::kTcpHeaderBytes);
    at[packet::kIpv6NextHeader] = kTcp;
    store_address6(at + packet::kIpv6Source, flow.source);
    store_address6(at + packet::kIpv6Destination, flow.destination);
  } else {
    at[0] = 0x45;
    store_be16(at + packet::kIpv4TotalLength, header_bytes + packet::kTcpHeaderBytes);
    at[packet::kIpv4Protocol] = kTcp;
    store_be32(at + packet::kIpv4Source, static_cast<uint32_t>(flow.source));
    store_be32(at + packet::kIpv4Destination, static_cast<uint32_t>(flow.destination));
  }
  store_be16(at + header_bytes, flow.source_port);
  store_be16(at + header_bytes + 2, flow.destination_port);

  packet::IpHeader header;
  [[maybe_unused]] const packet::IpError error = packet::parse_ip(bytes, header);
  assert(error == packet::IpError::none);
  return packet::flow_hash(at, header, key);
}

}  // namespace culvert::scale_sim
