// The ways to carry the traffic of one pair of hosts, and the cores that each way sends a flow over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/scale_sim/flows.h"
#include "bench/scale_sim/nic.h"

namespace culvert::scale_sim {

struct Arrangement {
  enum class Kind : uint8_t {
    plain,  // WireGuard as it is: one tunnel, one 4-tuple
    ports,  // one tunnel whose flows are spread over `count` source ports
    group   // `count` tunnels of one source port each, of which the last `dead` are dead
  };

  Kind kind = Kind::plain;
  uint32_t count = 1;
  uint32_t dead = 0;

  [[nodiscard]] std::string name() const;  // "plain", "8 ports", "group of 4"
  [[nodiscard]] uint32_t tunnels() const { return kind == Kind::group ? count : 1; }
};

// Who takes a datagram at the receiver.
enum class Steering : uint8_t {
  rss,   // the worker on the core of the NIC's queue
  index  // the worker that culvert's program names by receiver index, and by source port for a peer with several ports
};

// The two hosts, each with as many workers as cores.
struct Hosts {
  uint32_t cores = 1;
  NicOptions nic;
  Steering steering = Steering::rss;
  OuterTuple tuple;     // the tunnel's; further ports follow its source port
  RssKey random_key{};  // of models that have no default
};

// Where the packets of a flow go.
struct Path {
  uint32_t sender = 0;    // the worker that seals
  uint32_t port = 0;      // counted from the first source port
  uint32_t tunnel = 0;    // member of the group, else 0
  uint32_t nic_core = 0;  // of the queue at the receiver
  uint32_t receiver = 0;  // the worker that opens
};

// One path for each flow. A sender's worker takes the flows that its TUN queue gets by their hash, or those of the
// group's members that are at home there. At least one member of a group must be alive.
[[nodiscard]] std::vector<Path> find_paths(const std::vector<Flow>& flows, const Arrangement& arrangement,
                                           const Hosts& hosts);

}  // namespace culvert::scale_sim
