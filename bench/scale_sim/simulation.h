// Every mix, over every arrangement, with every number of cores.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/scale_sim/arrangement.h"
#include "bench/scale_sim/balance.h"
#include "bench/scale_sim/costs.h"
#include "bench/scale_sim/flows.h"

namespace culvert::scale_sim {

struct Plan {
  std::vector<uint32_t> cores;
  std::vector<Arrangement> arrangements;
  std::vector<Mix> mixes = {Mix::mixed};
  uint32_t flows = 0;  // 0: default_flows()
  NicOptions nic;
  Steering steering = Steering::rss;
  uint16_t first_port = 0;  // of the source ports; 0: another one in each round
  Costs costs;
  uint64_t seed = 1;
  uint32_t rounds = 5;  // each with its own flows, addresses, ports and random keys
};

// Means over the rounds.
struct Point {
  double packets_per_second = 0;
  Balance balance;  // of the receiver's workers, if nothing were in the way
};

struct Curve {
  Arrangement arrangement;
  std::vector<Point> points;  // one for each of Plan::cores
};

struct MixResult {
  Mix mix = Mix::mixed;
  uint32_t flows = 0;
  std::vector<Curve> curves;
};

[[nodiscard]] std::vector<MixResult> simulate(const Plan& plan);

}  // namespace culvert::scale_sim
