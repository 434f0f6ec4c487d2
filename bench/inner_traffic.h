// Inner packets as hosts and TUN devices make them, for the benches of tun/ and src/pipeline/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/superpacket.h"

namespace culvert::bench {

using Bytes = std::vector<uint8_t>;

// What tells one packet from another. TCP packets carry ACK alone and no options.
struct InnerPacket {
  enum class Kind : uint8_t { tcp4, tcp6, udp4, udp6 };

  Kind kind = Kind::tcp4;
  uint16_t source_port = 40000;
  uint32_t sequence = 1;        // TCP only
  uint16_t identification = 1;  // v4 only
  uint32_t payload_bytes = 0;
};

// IP and transport header bytes.
[[nodiscard]] size_t header_bytes(InnerPacket::Kind kind);

// Packet sizes in the order they come, again and again.
struct PacketMix {
  const char* name;
  std::vector<uint32_t> bytes;

  [[nodiscard]] uint32_t at(size_t i) const { return bytes[i % bytes.size()]; }
};

// 64, 1420 and IMIX, which is 7:4:1 of 64, 576 and 1420 bytes.
[[nodiscard]] const std::vector<PacketMix>& packet_mixes();

// Packet `i` of a flow in order, all of whose packets have `packet_bytes`.
[[nodiscard]] InnerPacket in_order(InnerPacket::Kind kind, uint32_t packet_bytes, uint32_t i = 0);

// The name of a kind in the names of benchmarks.
[[nodiscard]] const char* name_of(InnerPacket::Kind kind);

// The packet with all its checksums right, as it arrives from a tunnel.
[[nodiscard]] Bytes make_packet(const InnerPacket& packet);

// The packet as a TUN device hands over a superpacket that is to be cut into payloads of `gso_size`, or a
// packet that is not to be cut (0): its transport checksum is the pseudo header's alone.
[[nodiscard]] Bytes make_superpacket(const InnerPacket& packet);
[[nodiscard]] io::Superpacket view_of(Bytes& superpacket, const InnerPacket& packet, uint16_t gso_size);

}  // namespace culvert::bench
