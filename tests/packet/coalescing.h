// Giving packets to a coalescer as Inbound does: each with its header read.
#pragma once

#include <gtest/gtest.h>

#include "src/packet/coalesce.h"
#include "tests/packet/packets.h"

namespace culvert::packet::test {

inline void add_to(Coalescer& coalescer, Bytes& packet, const io::InnerOffloads& offloads) {
  IpHeader ip;
  ASSERT_EQ(parse_ip(packet, ip), IpError::none);
  ASSERT_EQ(ip.total_length, packet.size());
  coalescer.add(packet.data(), ip, offloads);
}

}  // namespace culvert::packet::test
