// struct virtio_net_hdr as TUN puts it before each packet under IFF_VNET_HDR (virtio 1.2, section 5.1.6), in
// native byte order (linux/virtio_net.h, "legacy").
#pragma once

#include <cstdint>
#include <cstring>

#include "io/superpacket.h"

namespace culvert::tun {

// The system's linux/virtio_net.h is no C++.
struct VnetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_length = 0;
  uint16_t gso_size = 0;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};
constexpr uint32_t kVnetHeaderBytes = 10;
static_assert(sizeof(VnetHeader) == kVnetHeaderBytes);

constexpr uint8_t kVnetNeedsChecksum = 1;
constexpr uint8_t kVnetGsoNone = 0, kVnetGsoTcp4 = 1, kVnetGsoTcp6 = 4, kVnetGsoUdp = 5;  // UDP: Linux 6.2
constexpr uint8_t kVnetGsoEcn = 0x80;                                                     // a TCP superpacket with CWR

// Reads kVnetHeaderBytes bytes. False for a GSO type that we never asked for: UFO, tunnels.
inline bool decode_vnet_header(const uint8_t* bytes, io::Offload& offload) {
  VnetHeader header;
  std::memcpy(&header, bytes, sizeof header);
  switch (header.gso_type & ~kVnetGsoEcn) {
    case kVnetGsoNone:
      offload.gso = io::GsoType::none;
      break;
    case kVnetGsoTcp4:
    case kVnetGsoTcp6:
      offload.gso = io::GsoType::tcp;
      break;
    case kVnetGsoUdp:
      offload.gso = io::GsoType::udp;
      break;
    default:
      return false;
  }
  offload.needs_checksum = (header.flags & kVnetNeedsChecksum) != 0;
  offload.header_length = header.header_length;
  offload.gso_size = header.gso_size;
  offload.checksum_start = header.checksum_start;
  offload.checksum_offset = header.checksum_offset;
  return true;
}

// Writes kVnetHeaderBytes bytes for a packet of IP version 6 or 4.
inline void encode_vnet_header(const io::Offload& offload, bool v6, uint8_t* bytes) {
  VnetHeader header;
  if (offload.needs_checksum) {
    header.flags = kVnetNeedsChecksum;
    header.checksum_start = offload.checksum_start;
    header.checksum_offset = offload.checksum_offset;
  }
  if (offload.gso != io::GsoType::none) {
    const uint8_t tcp = v6 ? kVnetGsoTcp6 : kVnetGsoTcp4;
    header.gso_type = offload.gso == io::GsoType::tcp ? tcp : kVnetGsoUdp;
    header.gso_size = offload.gso_size;
    header.header_length = offload.header_length;
  }
  std::memcpy(bytes, &header, sizeof header);
}

}  // namespace culvert::tun
