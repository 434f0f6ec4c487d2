#include "src/packet/unreachable.h"

#include <algorithm>
#include <cstring>

#include "src/packet/checksum.h"

namespace culvert::packet {
namespace {

constexpr size_t kIpv4Header = 20, kIpv6Header = 40, kIcmpHeader = 8;
constexpr size_t kMaxIpv4Error = 576;  // RFC 1812 section 4.3.2.3
constexpr uint8_t kIcmpv4 = 1, kIcmpv6 = 58;
constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51, kDestination = 60;
constexpr uint8_t kHopLimit = 64;

void put16(uint8_t* at, size_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

void put_checksum(uint8_t* at, uint64_t sum) {
  const auto checksum = static_cast<uint16_t>(~checksum_fold(sum));
  std::memcpy(at, &checksum, sizeof checksum);
}

bool is_icmpv4_error(uint8_t type) {
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

bool v4_may_be_answered(std::span<const uint8_t> packet) {
  const size_t header = size_t{packet[0] & 0x0fU} * 4;
  if (header < kIpv4Header || packet.size() < header) return false;
  const uint8_t* const source = &packet[12];
  const uint8_t* const destination = &packet[16];
  const bool later_fragment = ((packet[6] & 0x1f) | packet[7]) != 0;
  if (later_fragment || source[0] == 0 || source[0] == 127 || source[0] >= 224 || destination[0] >= 224) return false;
  return !(packet[9] == kIcmpv4 && (packet.size() <= header || is_icmpv4_error(packet[header])));
}

// Whether a v6 packet is no ICMP error, as far as its bytes tell: what lies behind extension headers counts.
bool v6_is_no_error(std::span<const uint8_t> packet) {
  uint8_t next = packet[6];
  size_t at = kIpv6Header;
  while (next == kHopByHop || next == kRouting || next == kFragment || next == kAuthentication ||
         next == kDestination) {
    if (packet.size() < at + 8) return false;
    // A later fragment does not say what it is a part of.
    if (next == kFragment && (packet[at + 2] | (packet[at + 3] & 0xf8)) != 0) return false;
    const size_t units = packet[at + 1];
    const size_t length = next == kFragment ? 8 : next == kAuthentication ? (units + 2) * 4 : (units + 1) * 8;
    next = packet[at];
    at += length;
  }
  return next != kIcmpv6 ? at <= packet.size() : at < packet.size() && (packet[at] & 0x80) != 0;
}

bool v6_may_be_answered(std::span<const uint8_t> packet) {
  if (packet.size() < kIpv6Header) return false;
  const uint8_t* const source = &packet[8];
  const bool unspecified = std::all_of(source, source + 16, [](uint8_t byte) { return byte == 0; });
  if (unspecified || source[0] == 0xff || packet[24] == 0xff) return false;
  return v6_is_no_error(packet);
}

size_t make_v4(std::span<const uint8_t> offending, uint8_t* out) {
  const size_t quoted = std::min(offending.size(), kMaxIpv4Error - kIpv4Header - kIcmpHeader);
  const size_t length = kIpv4Header + kIcmpHeader + quoted;
  std::memset(out, 0, kIpv4Header + kIcmpHeader);
  out[0] = 0x45;
  out[1] = 0xc0;  // internetwork control, as icmp_send() of Linux has it
  put16(out + 2, length);
  out[8] = kHopLimit;
  out[9] = kIcmpv4;
  std::memcpy(out + 12, &offending[16], 4);
  std::memcpy(out + 16, &offending[12], 4);
  put_checksum(out + 10, checksum_add(out, kIpv4Header));
  uint8_t* const icmp = out + kIpv4Header;
  icmp[0] = 3;  // destination unreachable
  icmp[1] = 1;  // host
  std::memcpy(icmp + kIcmpHeader, offending.data(), quoted);
  put_checksum(icmp + 2, checksum_add(icmp, kIcmpHeader + quoted));
  return length;
}

size_t make_v6(std::span<const uint8_t> offending, uint8_t* out) {
  const size_t quoted = std::min(offending.size(), kMaxUnreachableBytes - kIpv6Header - kIcmpHeader);
  const size_t length = kIcmpHeader + quoted;
  std::memset(out, 0, kIpv6Header + kIcmpHeader);
  out[0] = 0x60;
  put16(out + 4, length);
  out[6] = kIcmpv6;
  out[7] = kHopLimit;
  std::memcpy(out + 8, &offending[24], 16);
  std::memcpy(out + 24, &offending[8], 16);
  uint8_t* const icmp = out + kIpv6Header;
  icmp[0] = 1;  // destination unreachable
  icmp[1] = 3;  // address
  std::memcpy(icmp + kIcmpHeader, offending.data(), quoted);
  const std::array<uint8_t, 8> pseudo = {
      0, 0, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0, 0, 0, kIcmpv6};
  const uint64_t sum =
      checksum_add(out + 8, 32) + checksum_add(pseudo.data(), pseudo.size()) + checksum_add(icmp, length);
  put_checksum(icmp + 2, sum);
  return kIpv6Header + length;
}

}  // namespace

size_t make_unreachable(std::span<const uint8_t> offending, std::array<uint8_t, kMaxUnreachableBytes>& out) {
  if (offending.empty()) return 0;
  const unsigned version = offending[0] >> 4;
  if (version == 4 && offending.size() >= kIpv4Header && v4_may_be_answered(offending))
    return make_v4(offending, out.data());
  if (version == 6 && v6_may_be_answered(offending)) return make_v6(offending, out.data());
  return 0;
}

}  // namespace culvert::packet
