// Packets of the inner side as stages hand them on: views of memory that the reader of the batch owns.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "io/lease.h"

namespace culvert::io {

// How a superpacket is to be cut. The IP version tells v4 from v6.
enum class GsoType : uint8_t { none, tcp, udp };

// What a virtio_net_hdr says of a packet (virtio 1.2, section 5.1.6), in host byte order.
struct Offload {
  GsoType gso = GsoType::none;
  bool needs_checksum = false;   // finish the checksum at checksum_start + checksum_offset
  uint16_t header_length = 0;    // IP and transport header bytes; a hint, never trusted
  uint16_t gso_size = 0;         // payload bytes of each segment
  uint16_t checksum_start = 0;   // from the start of the IP header
  uint16_t checksum_offset = 0;  // from checksum_start
};

// One inner packet, up to 65,535 bytes, starting at its IP header.
struct Superpacket {
  uint8_t* bytes = nullptr;
  uint32_t length = 0;
  Offload offload;
  Lease lease;
  uint32_t waited_us = 0;  // on the inner side before it was read; 0: not known
};

// One packet to write to the inner side, gathered from `parts` in order, as writev(2) wants them. leases[i] stands
// beside parts[i]; null: there are none, and the memory is good during the call. At least 16 bytes in front of a part
// may be overwritten where it has a lease.
struct GatheredPacket {
  Offload offload;
  std::span<const iovec> parts;
  Lease* const* leases = nullptr;
  uint32_t length = 0;   // sum of the parts
  uint16_t packets = 1;  // how many packets were coalesced into it
};

}  // namespace culvert::io
