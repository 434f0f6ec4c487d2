#include "dpdk/frame.h"

#include <algorithm>

#include "src/packet/checksum.h"
#include "src/packet/ip_header.h"

namespace culvert::dpdk {
namespace {

using packet::load;
using packet::load_be16;
using packet::store_be16;

// A chain of extension headers that is longer has no honest reason.
constexpr int kMaxExtensionHeaders = 8;
constexpr uint8_t kHopLimit = 64;

bool is_right_ipv4_checksum(const uint8_t* ip, const packet::IpHeader& header) {
  if (header.header_length == packet::kIpv4HeaderBytes) return packet::ipv4_checksum_is_right(ip);
  return packet::checksum_fold(packet::checksum_add(ip, header.header_length)) == 0xffff;
}

// Steps over the extension headers of a v6 packet, up to the transport header that `protocol` and `at` then name.
FrameVerdict skip_extension_headers(const uint8_t* ip, uint32_t length, uint8_t& protocol, uint32_t& at) {
  for (int i = 0; packet::is_extension_header(protocol); ++i) {
    if (i == kMaxExtensionHeaders || at + 8 > length) return FrameVerdict::malformed;
    // Offset, two reserved bits and "more": only a fragment that is the whole has neither offset nor more.
    if (protocol == IPPROTO_FRAGMENT && (load_be16(ip + at + 2) & 0xfff9) != 0) return FrameVerdict::fragment;
    if (protocol == IPPROTO_ROUTING && ip[at + 3] != 0) return FrameVerdict::foreign;
    if (!packet::skip_extension_header(ip, length, protocol, at)) return FrameVerdict::malformed;
  }
  return FrameVerdict::ours;
}

}  // namespace

FrameVerdict read_datagram(std::span<const uint8_t> frame, const Link& link, bool ip_checksum_is_good,
                           DatagramFrame& read) {
  LinkFrame outer;
  if (read_link_header(frame, link, outer) != FrameVerdict::ours) return FrameVerdict::foreign;
  const uint8_t* const ip = frame.data() + outer.packet_at;
  packet::IpHeader header;
  if (packet::parse_ip(frame.subspan(outer.packet_at), header) != packet::IpError::none || header.v6() != outer.v6)
    return FrameVerdict::malformed;
  uint8_t protocol = header.protocol;
  uint32_t at = header.header_length;
  if (!header.v6()) {
    if (protocol != IPPROTO_UDP) return FrameVerdict::foreign;
    if (!ip_checksum_is_good && !is_right_ipv4_checksum(ip, header)) return FrameVerdict::malformed;
    if (header.is_fragment()) return FrameVerdict::fragment;
  } else if (protocol != IPPROTO_UDP) {
    const FrameVerdict verdict = skip_extension_headers(ip, header.total_length, protocol, at);
    if (verdict != FrameVerdict::ours) return verdict;
    if (protocol != IPPROTO_UDP) return FrameVerdict::foreign;
  }
  if (at + packet::kUdpHeaderBytes > header.total_length) return FrameVerdict::malformed;
  const uint32_t udp_bytes = load_be16(ip + at + packet::kUdpLength);
  if (udp_bytes < packet::kUdpHeaderBytes || at + udp_bytes > header.total_length) return FrameVerdict::malformed;
  if (header.v6() && load<uint16_t>(ip + at + packet::kUdpChecksum) == 0) return FrameVerdict::malformed;
  read.ip_at = outer.packet_at;
  read.udp_at = outer.packet_at + at;
  read.payload_bytes = udp_bytes - packet::kUdpHeaderBytes;
  read.traffic_class = header.traffic_class;
  read.v6 = header.v6();
  return FrameVerdict::ours;
}

void DatagramHeaders::prepare(const Link& link, const MacAddress& next_hop, const io::Endpoint& to,
                              const io::Address& from, uint16_t local_port, uint8_t traffic_class) {
  v6_ = to.remote.family == io::Family::v6;
  link_bytes_ = link.header_bytes();
  uint8_t* const ip = template_.data() + link_bytes_;
  (void)write_link_header(link, next_hop, v6_, ip);
  const uint32_t ip_bytes = v6_ ? packet::kIpv6HeaderBytes : packet::kIpv4HeaderBytes;
  std::fill_n(ip, ip_bytes + packet::kUdpHeaderBytes, uint8_t{0});
  const uint32_t address_bytes = v6_ ? 16 : 4;
  uint8_t* const addresses = ip + (v6_ ? packet::kIpv6Source : packet::kIpv4Source);
  std::copy_n(from.bytes.begin(), address_bytes, addresses);
  std::copy_n(to.remote.bytes.begin(), address_bytes, addresses + address_bytes);
  if (v6_) {
    ip[0] = static_cast<uint8_t>(0x60 | traffic_class >> 4);
    ip[1] = static_cast<uint8_t>(traffic_class << 4);
    ip[packet::kIpv6NextHeader] = IPPROTO_UDP;
    ip[packet::kIpv6HopLimit] = kHopLimit;
  } else {
    // An atomic datagram may have any id (RFC 6864).
    ip[0] = 0x45;
    ip[packet::kIpv4Tos] = traffic_class;
    store_be16(ip + packet::kIpv4Fragment, packet::kDontFragment);
    ip[packet::kIpv4Ttl] = kHopLimit;
    ip[packet::kIpv4Protocol] = IPPROTO_UDP;
    ip_sum_ = packet::checksum_fold(packet::checksum_add(ip, packet::kIpv4HeaderBytes));
  }
  pseudo_sum_ = packet::checksum_add(addresses, 2 * address_bytes) + htons(IPPROTO_UDP);
  uint8_t* const udp = ip + ip_bytes;
  store_be16(udp, local_port);
  store_be16(udp + 2, to.port);
  bytes_ = link_bytes_ + ip_bytes + packet::kUdpHeaderBytes;
}

void DatagramHeaders::write_checksum(uint8_t* udp, uint32_t udp_bytes, UdpChecksum checksum) const {
  uint64_t sum = pseudo_sum_ + htons(static_cast<uint16_t>(udp_bytes));
  if (checksum == UdpChecksum::device) {
    packet::store(udp + packet::kUdpChecksum, packet::checksum_fold(sum));
    return;
  }
  sum += packet::checksum_add(udp, udp_bytes);
  const auto folded = static_cast<uint16_t>(~packet::checksum_fold(sum));
  packet::store(udp + packet::kUdpChecksum, folded != 0 ? folded : uint16_t{0xffff});
}

}  // namespace culvert::dpdk
