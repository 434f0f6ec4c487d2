// Cuts a superpacket into the packets that belong on the wire, each with right headers and checksums: the
// software side of TSO and USO (Linux net/ipv4/tcp_offload.c tcp_gso_segment, udp_offload.c
// __udp_gso_segment).
#pragma once

#include <cstdint>

#include "io/superpacket.h"
#include "src/packet/ip_header.h"

namespace culvert::packet {

// Why a packet from the inner side cannot be sent. Every one is hostile or broken input, none is our bug.
enum class SegmentError : uint8_t {
  none,
  not_ip,            // neither version 4 nor 6, or shorter than its IP header
  length_mismatch,   // IP total length does not fit the bytes that were read
  wrong_protocol,    // GSO type and transport protocol do not match, or v6 extension headers are in the way
  short_header,      // transport header missing, cut or longer than the packet
  bad_gso_size,      // zero, or a segment would exceed 65,535 bytes
  bad_checksum_area  // checksum_start + checksum_offset lies outside the packet
};

// A checked plan to cut one superpacket. Made by plan(), used segment by segment in any order.
// Thread safety: none. Lifetime: refers to the superpacket's bytes, which stay unchanged.
class SegmentPlan {
 public:
  // Checks what follows the IP header, trusting nothing of the virtio header, and plans its segments. A packet without
  // GSO is a plan of one segment, whose checksum is finished if `needs_checksum` says so.
  [[nodiscard]] SegmentError plan(const io::Superpacket& packet, const IpHeader& ip);
  // The same for a packet whose IP header has not been read yet.
  [[nodiscard]] SegmentError plan(const io::Superpacket& packet) {
    IpHeader ip;
    const IpError error = parse_ip({packet.bytes, packet.length}, ip);
    if (error == IpError::none) return plan(packet, ip);
    count_ = 0;
    return error == IpError::not_ip ? SegmentError::not_ip : SegmentError::length_mismatch;
  }

  uint32_t count() const { return count_; }
  // Bytes of segment i < count(). All are equal but the last, which may be shorter.
  uint32_t length(uint32_t i) const { return i + 1 == count_ ? last_length_ : segment_length_; }
  // Whether the packet is its only segment, byte for byte: there is nothing to write.
  bool is_whole() const { return count_ == 1 && gso_ == io::GsoType::none && checksum_at_ == 0; }
  // Writes segment i, length(i) bytes, to `destination`, which overlaps nothing of the superpacket.
  void write(uint32_t i, uint8_t* destination) const;

 private:
  SegmentError plan_single(const io::Offload& offload);
  SegmentError plan_tcp(uint32_t gso_size);
  SegmentError plan_udp(uint32_t gso_size);
  SegmentError plan_cuts(uint32_t gso_size);
  void write_single(uint8_t* destination) const;
  void write_ip_header(uint32_t i, uint8_t* destination, uint32_t segment) const;

  // plan() sets what its kind of packet needs; the rest is what an earlier plan() left.
  const uint8_t* bytes_ = nullptr;
  uint32_t length_ = 0;
  uint32_t count_ = 0;
  uint32_t segment_length_ = 0;
  uint32_t last_length_ = 0;
  uint32_t gso_size_ = 0;
  uint32_t header_length_ = 0;  // IP and transport header
  uint32_t ip_header_length_ = 0;
  uint64_t ip_partial_ = 0;         // v4 header sum without length, id and checksum
  uint64_t transport_partial_ = 0;  // pseudo header and transport header without what changes per segment
  uint32_t checksum_at_ = 0;        // where the finished checksum goes, 0: nowhere
  uint32_t checksum_start_ = 0;
  io::GsoType gso_ = io::GsoType::none;
  bool v6_ = false;
};

}  // namespace culvert::packet
