// What an IP header says, read once where a packet comes in and handed to everything that asks about the packet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "src/packet/header_fields.h"

namespace culvert::packet {

enum class IpError : uint8_t {
  none,
  not_ip,          // neither version 4 nor 6, or shorter than its header
  length_mismatch  // the header claims more bytes than there are, or fewer than itself
};

// A value: the bytes that it was read from are not kept. Offsets count from the first byte of the packet.
struct IpHeader {
  uint8_t version = 0;         // 4 or 6
  uint8_t traffic_class = 0;   // DSCP and ECN: TOS
  uint8_t protocol = 0;        // of what follows the header; in v6 that may be an extension header
  uint16_t header_length = 0;  // with the options of v4, without the extension headers of v6
  uint16_t fragment = 0;       // v4: more fragments, and the offset; v6: 0, an extension header says it
  uint32_t total_length = 0;   // of header and payload, up to 65,575; what follows is padding

  bool v6() const { return version == 6; }
  // Of a datagram that was cut into fragments, only the first has the transport header.
  bool is_fragment() const { return fragment != 0; }
  bool is_later_fragment() const { return (fragment & kFragmentOffset) != 0; }
  // Both addresses, the source first: 8 or 32 bytes.
  uint32_t source_at() const { return v6() ? kIpv6Source : kIpv4Source; }
  uint32_t destination_at() const { return v6() ? kIpv6Destination : kIpv4Destination; }
};

// Reads the header that `bytes` starts with. `header` is filled in unless the error is not_ip. The checksum of the
// header and what follows it are not looked at.
inline IpError parse_ip(std::span<const uint8_t> bytes, IpHeader& header) {
  if (bytes.size() < kIpv4HeaderBytes) return IpError::not_ip;
  const uint8_t* const at = bytes.data();
  header.version = at[0] >> 4;
  if (header.version == 4) {
    header.header_length = static_cast<uint16_t>((at[0] & 0x0fU) * 4);
    if (header.header_length < kIpv4HeaderBytes || header.header_length > bytes.size()) return IpError::not_ip;
    header.traffic_class = at[kIpv4Tos];
    header.protocol = at[kIpv4Protocol];
    header.fragment = load_be16(at + kIpv4Fragment) & (kMoreFragments | kFragmentOffset);
    header.total_length = load_be16(at + kIpv4TotalLength);
  } else {
    if (header.version != 6 || bytes.size() < kIpv6HeaderBytes) return IpError::not_ip;
    header.header_length = kIpv6HeaderBytes;
    header.traffic_class = static_cast<uint8_t>(at[0] << 4 | at[1] >> 4);
    header.protocol = at[kIpv6NextHeader];
    header.fragment = 0;
    header.total_length = kIpv6HeaderBytes + load_be16(at + kIpv6PayloadLength);
  }
  const bool fits = header.total_length >= header.header_length && header.total_length <= bytes.size();
  return fits ? IpError::none : IpError::length_mismatch;
}

// An address to compare with others of its version. In words, because what is written by bytes is slow to read back by
// words.
struct AddressWords {
  uint64_t first = 0, second = 0;
  bool operator==(const AddressWords&) const = default;
};

// `address`: 4 bytes of v4, 16 of v6.
inline AddressWords address_words(const uint8_t* address, bool v6) {
  if (v6) return {load<uint64_t>(address), load<uint64_t>(address + 8)};
  return {load<uint32_t>(address), 0};
}

// Whether a v6 next header is an extension header that names what follows it (RFC 7045 section 1.1, but for ESP).
inline bool is_extension_header(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_HOPOPTS:
    case IPPROTO_ROUTING:
    case IPPROTO_FRAGMENT:
    case IPPROTO_AH:
    case IPPROTO_DSTOPTS:
    case IPPROTO_MH:
    case 139:  // host identity
    case 140:  // shim6
      return true;
    default:
      return false;
  }
}

// Steps over the extension header at `offset` of a packet of `length` bytes: sets `protocol`, which names it, and
// `offset` to those of the next header. False, and nothing is set, when it goes past the end.
inline bool skip_extension_header(const uint8_t* packet, uint32_t length, uint8_t& protocol, uint32_t& offset) {
  if (offset + 8 > length) return false;
  const uint8_t* const header = packet + offset;
  uint32_t bytes = (header[1] + 1U) * 8;
  if (protocol == IPPROTO_FRAGMENT) bytes = 8;
  if (protocol == IPPROTO_AH) bytes = (header[1] + 2U) * 4;
  if (offset + bytes > length) return false;
  protocol = header[0];
  offset += bytes;
  return true;
}

}  // namespace culvert::packet
