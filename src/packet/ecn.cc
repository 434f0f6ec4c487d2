#include "src/packet/ecn.h"

namespace culvert::packet {
namespace {

// Changes the ECN of a v4 header and its checksum with it (RFC 1624, equation 3).
void set_ecn_v4(uint8_t* packet, uint8_t ecn) {
  const auto before = static_cast<uint16_t>(packet[0] << 8 | packet[1]);
  packet[1] = static_cast<uint8_t>((packet[1] & ~kEcnMask) | ecn);
  const auto after = static_cast<uint16_t>(packet[0] << 8 | packet[1]);
  const auto checksum = static_cast<uint16_t>(packet[10] << 8 | packet[11]);
  uint32_t sum = static_cast<uint16_t>(~checksum) + static_cast<uint16_t>(~before) + after;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  packet[10] = static_cast<uint8_t>(~sum >> 8);
  packet[11] = static_cast<uint8_t>(~sum);
}

void set_ecn(uint8_t* packet, uint8_t ecn) {
  if (packet[0] >> 4 == 4)
    set_ecn_v4(packet, ecn);
  else
    packet[1] = static_cast<uint8_t>((packet[1] & ~(kEcnMask << 4)) | ecn << 4);
}

}  // namespace

void decapsulate_ecn(uint8_t outer_traffic_class, uint8_t* packet) {
  const uint8_t outer = outer_traffic_class & kEcnMask;
  const uint8_t inner = traffic_class(packet) & kEcnMask;
  if (outer == kEcnCongestion) {
    if (inner == kEcnCapable0 || inner == kEcnCapable1) set_ecn(packet, kEcnCongestion);
  } else if (outer == kEcnCapable1 && inner == kEcnCapable0) {
    set_ecn(packet, kEcnCapable1);
  }
}

}  // namespace culvert::packet
