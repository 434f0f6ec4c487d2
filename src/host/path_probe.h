// How large a datagram may be on the way to an address: tried out, not looked up.
#pragma once

#include <cstdint>

#include "io/endpoint.h"

namespace culvert::host {

struct PathProbe {
  uint64_t mtu_bytes = 0;  // of the path: as much as arrived, or as nobody refused. 0: nothing could be sent
  bool arrived = false;    // the other end answered a datagram of that size
  bool swallows = false;   // larger ones get no answer, neither from the other end nor from a router in between
};

// Sends datagrams that must not be fragmented to a port that traceroute uses, where nobody listens, and reads what ICMP
// says of them. The first is as large as `device_mtu`, the MTU of the device that the route leaves by: what a host that
// never answers leaves it at. Waits 300 ms for each of at most 13 datagrams: not for control threads. What the kernel
// believes of the path does not bind it (IP_PMTUDISC_PROBE).
PathProbe probe_path(const io::Endpoint& target, uint64_t device_mtu);

}  // namespace culvert::host
