// One number for each inner flow: the coalescer finds a flow's superpacket by it, and it spreads flows over ports and
// groups.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/packet/ip_header.h"

namespace culvert::packet {

// Secret and random, so that nobody can choose flows that meet in one place.
struct FlowHashKey {
  uint64_t words[2] = {};
};

// A random key. Early at boot the kernel may have no random bytes yet: then it is only hard to guess.
FlowHashKey make_flow_hash_key();

namespace flow_hash_detail {

// Mixes two words into one: the product's halves, folded.
inline uint64_t mix(uint64_t a, uint64_t b) {
  __extension__ using Product = unsigned __int128;
  const Product product = static_cast<Product>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline bool has_ports(uint8_t protocol) {
  if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) [[likely]]
    return true;
  return protocol == IPPROTO_SCTP || protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE;
}

// Echo requests and replies: their id tells two pings apart.
inline bool is_echo(uint8_t protocol, uint8_t type) {
  return protocol == IPPROTO_ICMP ? type == 8 || type == 0 : protocol == IPPROTO_ICMPV6 && (type == 128 || type == 129);
}

// What tells this flow from others between the same two addresses, 0 where that cannot be seen.
inline uint64_t discriminator(const uint8_t* packet, const IpHeader& header) {
  const uint8_t* const transport = packet + header.header_length;
  const uint32_t bytes = header.total_length - header.header_length;
  const uint64_t protocol = uint64_t{header.protocol} << 32;
  if (header.is_fragment()) return 0;
  if (has_ports(header.protocol) && bytes >= kPortBytes) return protocol | load<uint32_t>(transport);
  if (header.protocol == IPPROTO_FRAGMENT) return 0;
  if (bytes >= kIcmpHeaderBytes && is_echo(header.protocol, transport[0]))
    return protocol | load<uint16_t>(transport + kIcmpId);
  return header.v6() ? protocol | (load_be32(packet) & 0xfffff) : protocol;
}

}  // namespace flow_hash_detail

// The same for all packets of a flow in one direction. A flow is a pair of addresses and
// - of TCP, UDP and what else has ports: protocol and ports;
// - of ICMP echo: its id;
// - of anything else: the protocol, and the flow label of IPv6;
// - of fragments: nothing more, since only the first one shows its ports.
// A flow label beside ports is left out: Linux changes it when it sends again, and the flow must not be torn.
// `header` was read from `packet`, which has its total length. For a table of many slots, by its low bits.
inline uint64_t flow_slot_hash(const uint8_t* packet, const IpHeader& header, const FlowHashKey& key) {
  using flow_hash_detail::mix;
  const uint64_t a = key.words[0], b = key.words[1];
  uint64_t addresses;
  if (header.v6()) {
    const uint64_t source = mix(load<uint64_t>(packet + kIpv6Source) ^ a, load<uint64_t>(packet + kIpv6Source + 8) ^ b);
    addresses = source ^ mix(load<uint64_t>(packet + kIpv6Destination) ^ b,
                             load<uint64_t>(packet + kIpv6Destination + 8) ^ source);
  } else {
    addresses = load<uint64_t>(packet + kIpv4Source);
  }
  return mix(addresses ^ a, flow_hash_detail::discriminator(packet, header) ^ b);
}

namespace flow_hash_detail {

inline bool is_tunnel(uint8_t protocol) {
  return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE;
}

// flow_slot_hash() of the packet in the packet, where one can be seen and may overtake its neighbours; else 0.
uint64_t inner_slot_hash(const uint8_t* packet, const IpHeader& header, const FlowHashKey& key);

}  // namespace flow_hash_detail

// As flow_slot_hash(), with two differences. It is mixed once more, so that every range of it is as even as any other:
// one multiplication alone fills ranges unevenly with ports that count up, under one key in a hundred. And it looks
// into IP in IP and GRE, whose flows all have the same two addresses. (VXLAN, GENEVE and the like need no look: their
// UDP source port is a hash of the flow within, RFC 7348 section 5.) For choosing among few: ports, members of a group.
inline uint64_t flow_hash(const uint8_t* packet, const IpHeader& header, const FlowHashKey& key) {
  using flow_hash_detail::mix;
  uint64_t slot = flow_slot_hash(packet, header, key);
  if (flow_hash_detail::is_tunnel(header.protocol)) [[unlikely]]
    slot = mix(slot ^ key.words[0], flow_hash_detail::inner_slot_hash(packet, header, key) ^ key.words[1]);
  return mix(slot ^ key.words[1], 0x9e3779b97f4a7c15u ^ key.words[0]);
}

// One of `count` (below 2^32), each as often as any other, by the upper half of a flow_hash().
inline size_t choose(uint64_t flow, size_t count) {
  return static_cast<size_t>((flow >> 32) * count >> 32);
}

}  // namespace culvert::packet
