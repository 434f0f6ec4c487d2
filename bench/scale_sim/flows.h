// Mixes of inner flows, made from a seed.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace culvert::scale_sim {

enum class Mix : uint8_t {
  elephants,  // long TCP-like flows: each takes what it can get
  mice,       // short flows of 1 to 1000 packets (Pareto, exponent 1.2), together as much as all cores could carry
  zipf,       // flow number i has 1/i of the first one's packets, together as much as all cores could carry
  mixed       // one flow in a hundred an elephant, and mice that ask for a fifth of what all cores could carry
};
inline constexpr std::array kMixes = {Mix::mixed, Mix::elephants, Mix::mice, Mix::zipf};

[[nodiscard]] std::string_view name_of(Mix mix);
[[nodiscard]] uint32_t default_flows(Mix mix);

struct Flow {
  uint64_t hash = 0;     // culvert's flow hash of its packets, with a key of the seed's
  bool elastic = false;  // takes what it can get; else it asks for `share` of what all cores could carry
  double share = 0;      // of all packets, if nothing were in the way; over a mix they make 1
};

// A quarter of the flows is IPv6; all are TCP.
[[nodiscard]] std::vector<Flow> make_flows(Mix mix, uint32_t count, uint64_t seed);

}  // namespace culvert::scale_sim
