#include "src/packet/icmp_error.h"

#include <algorithm>
#include <cstring>

#include "src/packet/checksum.h"

namespace culvert::packet {
namespace {

constexpr size_t kMaxIpv4Error = 576;  // RFC 1812 section 4.3.2.3
constexpr uint8_t kHopLimit = 64;

void put_checksum(uint8_t* at, uint64_t sum) {
  const auto checksum = static_cast<uint16_t>(~checksum_fold(sum));
  std::memcpy(at, &checksum, sizeof checksum);
}

bool is_icmpv4_error(uint8_t type) {
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

bool v4_may_be_answered(const uint8_t* packet, const IpHeader& ip) {
  const uint8_t* const source = packet + kIpv4Source;
  const uint8_t* const destination = packet + kIpv4Destination;
  if (ip.is_later_fragment()) return false;
  if (source[0] == 0 || source[0] == 127 || source[0] >= 224 || destination[0] >= 224) return false;
  if (ip.protocol != IPPROTO_ICMP) return true;
  return ip.total_length > ip.header_length && !is_icmpv4_error(packet[ip.header_length]);
}

// Whether a v6 packet is no ICMP error, as far as its bytes tell: what lies behind extension headers counts.
bool v6_is_no_error(const uint8_t* packet, const IpHeader& ip) {
  uint8_t protocol = ip.protocol;
  uint32_t at = ip.header_length;
  while (is_extension_header(protocol)) {
    const uint32_t header = at;
    const bool fragment = protocol == IPPROTO_FRAGMENT;
    if (!skip_extension_header(packet, ip.total_length, protocol, at)) return false;
    // A later fragment does not say what it is a part of.
    if (fragment && (load_be16(packet + header + 2) & 0xfff8) != 0) return false;
  }
  return protocol != IPPROTO_ICMPV6 || (at < ip.total_length && (packet[at] & 0x80) != 0);
}

bool v6_may_be_answered(const uint8_t* packet, const IpHeader& ip) {
  const uint8_t* const source = packet + kIpv6Source;
  const bool unspecified = std::all_of(source, source + 16, [](uint8_t byte) { return byte == 0; });
  if (unspecified || source[0] == 0xff || packet[kIpv6Destination] == 0xff) return false;
  return v6_is_no_error(packet, ip);
}

size_t make_v4(const uint8_t* offending, size_t offending_bytes, uint8_t* out) {
  const size_t quoted = std::min(offending_bytes, kMaxIpv4Error - kIpv4HeaderBytes - kIcmpHeaderBytes);
  const size_t length = kIpv4HeaderBytes + kIcmpHeaderBytes + quoted;
  std::memset(out, 0, kIpv4HeaderBytes + kIcmpHeaderBytes);
  out[0] = 0x45;
  out[kIpv4Tos] = 0xc0;  // internetwork control, as icmp_send() of Linux has it
  store_be16(out + kIpv4TotalLength, static_cast<uint32_t>(length));
  out[kIpv4Ttl] = kHopLimit;
  out[kIpv4Protocol] = IPPROTO_ICMP;
  std::memcpy(out + kIpv4Source, offending + kIpv4Destination, 4);
  std::memcpy(out + kIpv4Destination, offending + kIpv4Source, 4);
  put_checksum(out + kIpv4Checksum, checksum_add(out, kIpv4HeaderBytes));
  uint8_t* const icmp = out + kIpv4HeaderBytes;
  icmp[0] = 3;  // destination unreachable
  icmp[1] = 1;  // host
  std::memcpy(icmp + kIcmpHeaderBytes, offending, quoted);
  put_checksum(icmp + kIcmpChecksum, checksum_add(icmp, kIcmpHeaderBytes + quoted));
  return length;
}

size_t make_v6(const uint8_t* offending, size_t offending_bytes, uint8_t* out) {
  const size_t quoted = std::min(offending_bytes, kMaxUnreachableBytes - kIpv6HeaderBytes - kIcmpHeaderBytes);
  const auto length = static_cast<uint32_t>(kIcmpHeaderBytes + quoted);
  std::memset(out, 0, kIpv6HeaderBytes + kIcmpHeaderBytes);
  out[0] = 0x60;
  store_be16(out + kIpv6PayloadLength, length);
  out[kIpv6NextHeader] = IPPROTO_ICMPV6;
  out[kIpv6HopLimit] = kHopLimit;
  std::memcpy(out + kIpv6Source, offending + kIpv6Destination, 16);
  std::memcpy(out + kIpv6Destination, offending + kIpv6Source, 16);
  uint8_t* const icmp = out + kIpv6HeaderBytes;
  icmp[0] = 1;  // destination unreachable
  icmp[1] = 3;  // address
  std::memcpy(icmp + kIcmpHeaderBytes, offending, quoted);
  const uint64_t pseudo = checksum_add(out + kIpv6Source, 32) + htonl(length) + htonl(IPPROTO_ICMPV6);
  put_checksum(icmp + kIcmpChecksum, pseudo + checksum_add(icmp, length));
  return kIpv6HeaderBytes + length;
}

}  // namespace

size_t make_unreachable(const uint8_t* offending, const IpHeader& ip, std::array<uint8_t, kMaxUnreachableBytes>& out) {
  if (ip.v6()) return v6_may_be_answered(offending, ip) ? make_v6(offending, ip.total_length, out.data()) : 0;
  return v4_may_be_answered(offending, ip) ? make_v4(offending, ip.total_length, out.data()) : 0;
}

}  // namespace culvert::packet
