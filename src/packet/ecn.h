// Explicit congestion notification across the tunnel (RFC 6040, normal mode): copied out, combined in.
#pragma once

#include <cstdint>

#include "src/packet/ip_header.h"

namespace culvert::packet {

inline constexpr uint8_t kEcnMask = 3, kEcnNotCapable = 0, kEcnCapable1 = 1, kEcnCapable0 = 2, kEcnCongestion = 3;

// The outer traffic class of a packet's datagrams: its ECN and no DSCP (Linux drivers/net/wireguard/send.c).
inline uint8_t encapsulate_ecn(const IpHeader& ip) {
  return ip.traffic_class & kEcnMask;
}

// Combines the outer ECN into an opened packet, from which `ip` was read (RFC 6040 section 4.2, figure 4), with
// one exception: congestion marked on a packet that does not do ECN is ignored, where the RFC drops the
// packet. The kernel module ignores it too, and routers that mark such packets exist.
void decapsulate_ecn(uint8_t outer_traffic_class, const IpHeader& ip, uint8_t* packet);

}  // namespace culvert::packet
