// How evenly load lies on cores.
#pragma once

#include <span>

namespace culvert::scale_sim {

struct Balance {
  double busiest = 0;  // the busiest core's share of the load: 1 / cores at best, 1 at worst
  double jain = 0;     // Jain's index (Jain, Chiu, Hawe 1984): 1 at best, 1 / cores at worst
};

// `load` has an entry for each core, some of which is above 0.
[[nodiscard]] inline Balance balance_of(std::span<const double> load) {
  double sum = 0, squares = 0, most = 0;
  for (const double core : load) {
    sum += core;
    squares += core * core;
    if (core > most) most = core;
  }
  return {most / sum, sum * sum / (static_cast<double>(load.size()) * squares)};
}

}  // namespace culvert::scale_sim
