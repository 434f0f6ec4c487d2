#include "src/packet/segment.h"

#include <algorithm>

#include "src/packet/checksum.h"
#include "src/packet/ip_header.h"

namespace culvert::packet {
namespace {

// Steps over the extension headers that every segment repeats (RFC 8200 section 4). Stops at the first other
// header, and at a routing header that is not used up: the checksum would need its final destination.
SegmentError skip_repeated_headers(const uint8_t* packet, uint32_t length, uint8_t& protocol, uint32_t& offset) {
  while (protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_ROUTING) {
    const uint8_t* const header = packet + offset;
    const bool routing = protocol == IPPROTO_ROUTING;
    if (!skip_extension_header(packet, length, protocol, offset)) return SegmentError::short_header;
    if (routing && header[3] != 0) return SegmentError::wrong_protocol;
  }
  return SegmentError::none;
}

uint64_t pseudo_header_sum(const uint8_t* bytes, bool v6, uint8_t protocol) {
  return (v6 ? checksum_add(bytes + kIpv6Source, 32) : checksum_add(bytes + kIpv4Source, 8)) + htons(protocol);
}

uint16_t complement(uint64_t sum) {
  return static_cast<uint16_t>(~checksum_fold(sum));
}

}  // namespace

SegmentError SegmentPlan::plan(const io::Superpacket& packet, const IpHeader& ip) {
  bytes_ = packet.bytes;
  length_ = ip.total_length;
  count_ = 0;
  checksum_at_ = 0;
  v6_ = ip.v6();
  gso_ = packet.offload.gso;
  ip_header_length_ = ip.header_length;
  if (gso_ == io::GsoType::none) return plan_single(packet.offload);

  uint8_t protocol = ip.protocol;
  if (v6_) {
    const SegmentError error = skip_repeated_headers(bytes_, length_, protocol, ip_header_length_);
    if (error != SegmentError::none) return error;
  }
  const bool tcp = gso_ == io::GsoType::tcp;
  if (protocol != (tcp ? IPPROTO_TCP : IPPROTO_UDP) || ip.is_fragment()) return SegmentError::wrong_protocol;
  return tcp ? plan_tcp(packet.offload.gso_size) : plan_udp(packet.offload.gso_size);
}

SegmentError SegmentPlan::plan_single(const io::Offload& offload) {
  if (length_ > kMaxPacketBytes) return SegmentError::bad_gso_size;
  count_ = 1;
  segment_length_ = last_length_ = length_;
  if (!offload.needs_checksum) return SegmentError::none;
  checksum_start_ = offload.checksum_start;
  checksum_at_ = checksum_start_ + offload.checksum_offset;
  // A checksum inside the IP header could rewrite addresses that were looked up already.
  if (checksum_start_ < ip_header_length_ || checksum_at_ + 2 > length_) {
    count_ = 0;
    return SegmentError::bad_checksum_area;
  }
  return SegmentError::none;
}

SegmentError SegmentPlan::plan_tcp(uint32_t gso_size) {
  const uint8_t* const tcp = bytes_ + ip_header_length_;
  if (ip_header_length_ + kTcpHeaderBytes > length_) return SegmentError::short_header;
  const uint32_t tcp_header_length = (tcp[kTcpDataOffset] >> 4) * 4u;
  header_length_ = ip_header_length_ + tcp_header_length;
  if (tcp_header_length < kTcpHeaderBytes || header_length_ > length_) return SegmentError::short_header;
  checksum_at_ = ip_header_length_ + kTcpChecksum;
  // Everything but the sequence number, the word of data offset and flags, and the checksum.
  transport_partial_ = pseudo_header_sum(bytes_, v6_, IPPROTO_TCP) + checksum_add(tcp, kTcpSequence) +
                       load<uint32_t>(tcp + kTcpAck) + load<uint16_t>(tcp + kTcpWindow) +
                       checksum_add(tcp + kTcpUrgent, tcp_header_length - kTcpUrgent);
  return plan_cuts(gso_size);
}

SegmentError SegmentPlan::plan_udp(uint32_t gso_size) {
  header_length_ = ip_header_length_ + kUdpHeaderBytes;
  if (header_length_ > length_) return SegmentError::short_header;
  checksum_at_ = ip_header_length_ + kUdpChecksum;
  transport_partial_ = pseudo_header_sum(bytes_, v6_, IPPROTO_UDP) + load<uint32_t>(bytes_ + ip_header_length_);
  return plan_cuts(gso_size);
}

SegmentError SegmentPlan::plan_cuts(uint32_t gso_size) {
  if (gso_size == 0) return SegmentError::bad_gso_size;
  gso_size_ = gso_size;
  checksum_start_ = ip_header_length_;
  const uint32_t payload = length_ - header_length_;
  const uint32_t cuts = std::max(1u, (payload + gso_size - 1) / gso_size);
  segment_length_ = header_length_ + std::min(payload, gso_size);
  last_length_ = length_ - (cuts - 1) * gso_size;
  if (segment_length_ > kMaxPacketBytes) return SegmentError::bad_gso_size;
  if (!v6_) {
    ip_partial_ = load<uint16_t>(bytes_) + load<uint32_t>(bytes_ + kIpv4Fragment) +
                  checksum_add(bytes_ + kIpv4Source, ip_header_length_ - kIpv4Source);
  }
  count_ = cuts;
  return SegmentError::none;
}

void SegmentPlan::write(uint32_t i, uint8_t* destination) const {
  if (gso_ == io::GsoType::none) return write_single(destination);
  const uint32_t segment = length(i);
  std::memcpy(destination, bytes_, header_length_);
  const uint64_t payload_sum = checksum_copy(destination + header_length_,
                                             bytes_ + header_length_ + size_t{i} * gso_size_, segment - header_length_);
  write_ip_header(i, destination, segment);
  uint8_t* const transport = destination + ip_header_length_;
  const uint32_t transport_length = segment - ip_header_length_;
  uint64_t sum = payload_sum + transport_partial_ + htons(static_cast<uint16_t>(transport_length));
  if (gso_ == io::GsoType::tcp) {
    store_be32(transport + kTcpSequence, load_be32(transport + kTcpSequence) + i * gso_size_);
    uint8_t flags = transport[kTcpFlags];
    if (i != 0) flags &= static_cast<uint8_t>(~kTcpCwr);
    if (i + 1 != count_) flags &= static_cast<uint8_t>(~(kTcpFin | kTcpPsh));
    transport[kTcpFlags] = flags;
    sum += uint64_t{load<uint32_t>(transport + kTcpSequence)} + load<uint16_t>(transport + kTcpDataOffset);
    store(transport + kTcpChecksum, complement(sum));
  } else {
    store_be16(transport + kUdpLength, transport_length);
    sum += load<uint16_t>(transport + kUdpLength);
    const uint16_t checksum = complement(sum);
    store(transport + kUdpChecksum, checksum == 0 ? uint16_t{0xffff} : checksum);
  }
}

void SegmentPlan::write_ip_header(uint32_t i, uint8_t* destination, uint32_t segment) const {
  if (v6_) {
    store_be16(destination + kIpv6PayloadLength, segment - kIpv6HeaderBytes);
    return;
  }
  store_be16(destination + kIpv4TotalLength, segment);
  store_be16(destination + kIpv4Id, load_be16(destination + kIpv4Id) + i);
  store(destination + kIpv4Checksum, complement(ip_partial_ + load<uint32_t>(destination + kIpv4TotalLength)));
}

// As skb_checksum_help() does: the field holds the pseudo header's sum and is summed with the rest; a result
// of zero, which UDP reads as "no checksum", becomes its other form.
void SegmentPlan::write_single(uint8_t* destination) const {
  if (checksum_at_ == 0) {
    std::memcpy(destination, bytes_, length_);
    return;
  }
  std::memcpy(destination, bytes_, checksum_start_);
  const uint64_t sum =
      checksum_copy(destination + checksum_start_, bytes_ + checksum_start_, length_ - checksum_start_);
  const uint16_t checksum = complement(sum);
  store(destination + checksum_at_, checksum == 0 ? uint16_t{0xffff} : checksum);
}

}  // namespace culvert::packet
