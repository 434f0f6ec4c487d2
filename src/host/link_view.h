// What the kernel knows of one interface that somebody else sends by: addresses, routes and neighbours.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::host {

// More are left out, and the default routes stay.
inline constexpr size_t kMaxViewedRoutes = 1024;

struct LinkView {
  struct OwnAddress {
    io::Address address;
    uint8_t prefix_bits = 0;
  };
  struct Route {
    io::Address prefix;
    uint8_t prefix_bits = 0;
    io::Address gateway;  // Family::none: whoever is in there is on the link
    io::Address source;   // Family::none: the route does not say what to send from
  };
  struct Neighbour {
    io::Address address;
    std::array<uint8_t, 6> mac{};
  };

  uint32_t mtu = 0;
  std::array<uint8_t, 6> mac{};
  std::vector<OwnAddress> addresses;  // those that others can reach first
  std::vector<Route> routes;          // of the main table, the longest prefixes first
  std::vector<Neighbour> neighbours;  // whose MAC address is known
};

// Asks for all of that. Errors: ENODEV, and those of rtnetlink.
io::Result<LinkView> read_link_view(unsigned interface_index);

// Has the kernel find out the MAC address of a neighbour, as if it had something to send there. What it finds is a
// change that a RouteMonitor with neighbours sees.
io::Status resolve_neighbour(unsigned interface_index, const io::Address& neighbour);

}  // namespace culvert::host
