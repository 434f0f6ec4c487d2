#include "src/packet/flow_hash.h"

#include <sys/random.h>

#include <ctime>

namespace culvert::packet {
namespace {

// GRE, RFC 2784 and 2890: flags and version, the protocol within, and what the flags add, 4 bytes each.
constexpr uint16_t kGreChecksum = 0x8000, kGreKey = 0x2000;
constexpr uint32_t kGreHeaderBytes = 4, kGreFieldBytes = 4;
constexpr uint16_t kGreIpv4 = 0x0800, kGreIpv6 = 0x86dd;

// Steps over a GRE header in front of an IP packet. False for anything else: another version (PPTP), source routes, and
// sequence numbers, by which the other end drops what was overtaken.
bool skip_gre(const uint8_t* packet, uint32_t length, uint32_t& offset) {
  if (offset + kGreHeaderBytes > length) return false;
  const uint16_t flags = load_be16(packet + offset), protocol = load_be16(packet + offset + 2);
  if ((flags & ~(kGreChecksum | kGreKey)) != 0 || (protocol != kGreIpv4 && protocol != kGreIpv6)) return false;
  offset += kGreHeaderBytes + ((flags & kGreChecksum) != 0 ? kGreFieldBytes : 0) +
            ((flags & kGreKey) != 0 ? kGreFieldBytes : 0);
  return offset <= length;
}

}  // namespace

uint64_t flow_hash_detail::inner_slot_hash(const uint8_t* packet, const IpHeader& header, const FlowHashKey& key) {
  if (header.is_fragment()) return 0;
  uint32_t offset = header.header_length;
  if (header.protocol == IPPROTO_GRE && !skip_gre(packet, header.total_length, offset)) return 0;
  IpHeader inner;
  if (parse_ip({packet + offset, header.total_length - offset}, inner) != IpError::none) return 0;
  return flow_slot_hash(packet + offset, inner, key);
}

FlowHashKey make_flow_hash_key() {
  FlowHashKey key;
  if (getrandom(key.words, sizeof key.words, GRND_NONBLOCK) == sizeof key.words) return key;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  // Where the stack lies, and the time.
  key.words[0] = reinterpret_cast<uintptr_t>(&key) * 0x9e3779b97f4a7c15u;
  key.words[1] = static_cast<uint64_t>(now.tv_nsec) * 0xd6e8feb86659fd93u;
  return key;
}

}  // namespace culvert::packet
