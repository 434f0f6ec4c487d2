#include "src/packet/ecn.h"

namespace culvert::packet {
namespace {

// Changes the ECN of a v4 header and its checksum with it (RFC 1624, equation 3).
void set_ecn_v4(uint8_t* packet, uint8_t ecn) {
  const uint16_t before = load_be16(packet);
  packet[kIpv4Tos] = static_cast<uint8_t>((packet[kIpv4Tos] & ~kEcnMask) | ecn);
  const uint16_t after = load_be16(packet);
  const uint16_t checksum = load_be16(packet + kIpv4Checksum);
  uint32_t sum = static_cast<uint16_t>(~checksum) + static_cast<uint16_t>(~before) + after;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  store_be16(packet + kIpv4Checksum, ~sum);
}

void set_ecn(uint8_t* packet, bool v6, uint8_t ecn) {
  if (!v6)
    set_ecn_v4(packet, ecn);
  else
    packet[1] = static_cast<uint8_t>((packet[1] & ~(kEcnMask << 4)) | ecn << 4);
}

}  // namespace

void decapsulate_ecn(uint8_t outer_traffic_class, const IpHeader& ip, uint8_t* packet) {
  const uint8_t outer = outer_traffic_class & kEcnMask;
  const uint8_t inner = ip.traffic_class & kEcnMask;
  if (outer == kEcnCongestion) {
    if (inner == kEcnCapable0 || inner == kEcnCapable1) set_ecn(packet, ip.v6(), kEcnCongestion);
  } else if (outer == kEcnCapable1 && inner == kEcnCapable0) {
    set_ecn(packet, ip.v6(), kEcnCapable1);
  }
}

}  // namespace culvert::packet
