// Ethernet frames around the datagrams of the outer side and the packets of the inner side: which of them are for us,
// and the headers of those that we send. Bytes in, bytes out; needs nothing of DPDK.
//
// What is done with the less usual frames:
//   VLAN tag               read and written if the link has that VLAN; a tag with id 0 is a priority and no VLAN;
//                          frames of other VLANs, and with two tags, are foreign
//   foreign                another MAC address, group addresses, ARP, other protocols: the kernel's, where it sees them
//   IPv4 options, IPv6     skipped, whatever they say, up to 8 headers; a routing header that still
//   extension headers      names a hop makes the frame foreign, as we are no router of the outer network
//   outer fragments        dropped and counted: a WireGuard peer sends what fits the path. A v6 datagram that is its
//                          own only fragment (RFC 6946) is none
//   checksums              the IPv4 header's is verified unless the device has done so; UDP's is the device's alone, as
//                          the tag covers the payload; a v6 datagram without one is malformed (RFC 8200, section 8.1)
//   padding, trailers      lengths are those of IP and UDP; what follows is no part of the datagram
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "io/endpoint.h"
#include "src/packet/header_fields.h"

namespace culvert::dpdk {

inline constexpr uint32_t kEthernetBytes = 14, kVlanBytes = 4, kMaxLinkBytes = kEthernetBytes + kVlanBytes;
inline constexpr uint16_t kEtherTypeV4 = 0x0800, kEtherTypeV6 = 0x86dd, kEtherTypeVlan = 0x8100;
// The headers of a datagram with a VLAN tag over v6, the longest that we write.
inline constexpr uint32_t kMaxFrameHeaderBytes = kMaxLinkBytes + packet::kIpv6HeaderBytes + packet::kUdpHeaderBytes;

using MacAddress = std::array<uint8_t, 6>;

// One end of the wire. A value.
struct Link {
  MacAddress mac{};
  uint16_t vlan = 0;  // 1..4094; 0: frames have no tag

  uint32_t header_bytes() const { return vlan != 0 ? kMaxLinkBytes : kEthernetBytes; }
};

enum class FrameVerdict : uint8_t { ours, foreign, malformed, fragment };

// Where the packet in a frame begins. `v6` is what the frame says of it; the packet has not been looked at.
struct LinkFrame {
  uint32_t packet_at = 0;
  bool v6 = false;
};

// Reads the link header of a frame that has arrived at `link`: `ours` or `foreign`.
inline FrameVerdict read_link_header(std::span<const uint8_t> frame, const Link& link, LinkFrame& read) {
  if (frame.size() < kMaxLinkBytes || packet::load<uint32_t>(frame.data()) != packet::load<uint32_t>(link.mac.data()) ||
      packet::load<uint16_t>(frame.data() + 4) != packet::load<uint16_t>(link.mac.data() + 4))
    return FrameVerdict::foreign;
  uint16_t type = packet::load_be16(frame.data() + 12);
  uint16_t vlan = 0;
  read.packet_at = kEthernetBytes;
  if (type == kEtherTypeVlan) {
    vlan = packet::load_be16(frame.data() + 14) & 0x0fff;
    type = packet::load_be16(frame.data() + 16);
    read.packet_at = kMaxLinkBytes;
  }
  if (vlan != link.vlan || (type != kEtherTypeV4 && type != kEtherTypeV6)) return FrameVerdict::foreign;
  read.v6 = type == kEtherTypeV6;
  return FrameVerdict::ours;
}

// Writes the link header of a packet in front of it. Returns where the frame begins.
inline uint8_t* write_link_header(const Link& link, const MacAddress& to, bool v6, uint8_t* packet) {
  uint8_t* const frame = packet - link.header_bytes();
  std::memcpy(frame, to.data(), to.size());
  std::memcpy(frame + 6, link.mac.data(), link.mac.size());
  if (link.vlan != 0) {
    packet::store_be16(frame + 12, kEtherTypeVlan);
    packet::store_be16(frame + 14, link.vlan);
  }
  packet::store_be16(packet - 2, v6 ? kEtherTypeV6 : kEtherTypeV4);
  return frame;
}

// Where the UDP datagram in a frame lies.
struct DatagramFrame {
  uint32_t ip_at = 0, udp_at = 0;
  uint32_t payload_bytes = 0;  // what UDP says of them
  uint8_t traffic_class = 0;   // DSCP and ECN
  bool v6 = false;
};

// Reads the headers of a whole frame. Only `ours` fills `read`. `ip_checksum_is_good`: the device has verified it.
FrameVerdict read_datagram(std::span<const uint8_t> frame, const Link& link, bool ip_checksum_is_good,
                           DatagramFrame& read);

// Who fills in the checksum of UDP. `none`: zero, which v4 allows. `device`: the field gets the pseudo header's sum.
enum class UdpChecksum : uint8_t { none, software, device };

// The headers that datagrams from one address and port to another begin with, made once for many of them.
class DatagramHeaders {
 public:
  // Both addresses are of one family, v4 or v6; ports in host byte order.
  void prepare(const Link& link, const MacAddress& next_hop, const io::Endpoint& to, const io::Address& from,
               uint16_t local_port, uint8_t traffic_class);

  // Of link, IP and UDP header together.
  uint32_t bytes() const { return bytes_; }
  uint32_t link_bytes() const { return link_bytes_; }
  bool v6() const { return v6_; }

  // Writes the headers in front of a payload and returns where the frame begins.
  uint8_t* write(uint8_t* payload, uint32_t payload_bytes, UdpChecksum checksum) const {
    uint8_t* const frame = payload - bytes_;
    if (bytes_ == kUsualBytes)
      std::memcpy(frame, template_.data(), kUsualBytes);
    else
      std::memcpy(frame, template_.data(), bytes_);
    uint8_t* const ip = frame + link_bytes_;
    const uint32_t udp_bytes = payload_bytes + packet::kUdpHeaderBytes;
    if (!v6_) {
      packet::store_be16(ip + packet::kIpv4TotalLength, udp_bytes + packet::kIpv4HeaderBytes);
      uint32_t sum = ip_sum_ + packet::load<uint16_t>(ip + packet::kIpv4TotalLength);
      sum = (sum & 0xffff) + (sum >> 16);
      sum = (sum & 0xffff) + (sum >> 16);
      packet::store(ip + packet::kIpv4Checksum, static_cast<uint16_t>(~sum));
    } else {
      packet::store_be16(ip + packet::kIpv6PayloadLength, udp_bytes);
    }
    uint8_t* const udp = payload - packet::kUdpHeaderBytes;
    packet::store_be16(udp + packet::kUdpLength, udp_bytes);
    if (checksum != UdpChecksum::none) write_checksum(udp, udp_bytes, checksum);
    return frame;
  }

 private:
  static constexpr uint32_t kUsualBytes = kEthernetBytes + packet::kIpv4HeaderBytes + packet::kUdpHeaderBytes;

  void write_checksum(uint8_t* udp, uint32_t udp_bytes, UdpChecksum checksum) const;

  alignas(64) std::array<uint8_t, 128> template_{};
  uint32_t bytes_ = 0, link_bytes_ = 0;
  uint32_t ip_sum_ = 0;      // of the v4 header without its length
  uint64_t pseudo_sum_ = 0;  // of the pseudo header without its length
  bool v6_ = false;
};

}  // namespace culvert::dpdk
