// The packets a second that a mix of flows gets over its paths.
#pragma once

#include <vector>

#include "bench/scale_sim/arrangement.h"
#include "bench/scale_sim/costs.h"
#include "bench/scale_sim/flows.h"

namespace culvert::scale_sim {

// Cores of both hosts saturate, and so do the shared words of a tunnel. Flows that ask for a share of the traffic get
// it first, or all of them the same part of it where a core has too little. What is left goes to the elastic flows,
// each as much as the next. So a flow never gets more than one core carries.
[[nodiscard]] double packets_per_second(const std::vector<Flow>& flows, const std::vector<Path>& paths,
                                        uint32_t tunnels, uint32_t cores, const Costs& costs);

}  // namespace culvert::scale_sim
