// The ICMP error that answers a packet which no peer can take, as the kernel module sends it (Linux
// drivers/net/wireguard/device.c, wg_xmit: icmp_ndo_send / icmpv6_ndo_send).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "src/packet/ip_header.h"

namespace culvert::packet {

// The longest error: an IPv6 one, kept within the minimum MTU (RFC 4443 section 2.4c).
inline constexpr size_t kMaxUnreachableBytes = 1280;

// Writes "host unreachable" (v4) or "address unreachable" (v6) for the IP packet `offending` to `out`, as if
// its destination had sent it: a packet from an address of this host would be taken for a martian. Returns
// its length, or 0 when none may be sent: the packet is an ICMP error itself, a later
// fragment, or was not from or to a unicast address (RFC 1122 section 3.2.2, RFC 4443 section 2.4e).
// `ip` was read from the packet.
size_t make_unreachable(const uint8_t* offending, const IpHeader& ip, std::array<uint8_t, kMaxUnreachableBytes>& out);

}  // namespace culvert::packet
