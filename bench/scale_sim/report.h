// The result of a simulation for people and for programs: text of 80 columns, JSON, SVG.
#pragma once

#include <string>
#include <vector>

#include "bench/scale_sim/simulation.h"

namespace culvert::scale_sim {

// What was simulated: a line or two.
[[nodiscard]] std::string describe(const Plan& plan);

// For each mix a table and a plot of throughput. The tables leave out numbers of cores that are no power of two, but
// for the last.
[[nodiscard]] std::string text_report(const Plan& plan, const std::vector<MixResult>& results);

// One object: "plan", and for each mix and arrangement a list of points.
[[nodiscard]] std::string json_report(const Plan& plan, const std::vector<MixResult>& results);

// A document of its own: for each mix a row of three plots over the number of cores.
[[nodiscard]] std::string svg_report(const Plan& plan, const std::vector<MixResult>& results);

}  // namespace culvert::scale_sim
