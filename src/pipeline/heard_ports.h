// Where a peer that sends from several source ports is: at one endpoint, which stays while only its port moves.
//
// An ordinary peer is answered where it was heard last (paper section 2.1), down to the port. A peer that spreads its
// flows over ports is heard from another port with every other packet, and its endpoint would never rest: what we send
// would change its destination port, and with it the queue of the network card that receives it there, in the middle of
// flows. So of such a peer, which the configuration names (SourcePorts above 1), the range of ports is remembered from
// which authentic messages came since its last handshake message:
// - a port within the range changes nothing;
// - a port outside of it widens the range and moves the endpoint there, as does any other address;
// - a handshake message always moves the endpoint, and the range begins anew with its port.
// So the endpoint moves at most once for each port after a handshake. A NAT that gives such a peer a new port within
// the range is followed with the next handshake, which comes 15 s after the last answer.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace culvert::pipeline {

// Thread safety: any. Workers that hear of two new ports at once may forget one, which is then learned again.
class HeardPorts {
 public:
  // The range is this port.
  void begin(uint16_t port) { store(port, port); }

  // Whether the port is within the range; if not, it is from now on.
  bool is_known(uint16_t port) {
    const uint32_t both = range_.load(std::memory_order_relaxed);
    const auto lowest = static_cast<uint16_t>(both >> 16), highest = static_cast<uint16_t>(both);
    if (lowest <= port && port <= highest) return true;
    if (both == 0)
      begin(port);
    else
      store(std::min(lowest, port), std::max(highest, port));
    return false;
  }

 private:
  void store(uint16_t lowest, uint16_t highest) {
    range_.store(uint32_t{lowest} << 16 | highest, std::memory_order_relaxed);
  }

  std::atomic<uint32_t> range_{0};  // lowest and highest; 0: nothing was heard. Relaxed, no partner
};

}  // namespace culvert::pipeline
