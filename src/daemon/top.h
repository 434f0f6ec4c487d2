// `culvert top`: what interfaces do, live.
#pragma once

#include <string>
#include <vector>

#include "src/daemon/metrics_reader.h"

namespace culvert::daemon {

int run_top(const std::vector<std::string>& words);  // [-n FRAMES] [IFNAME...]

// One interface between two looks at its metrics, `seconds` apart, as lines for a screen of that size; 0 is one without
// limits, and then 20 peers are shown. Those with the most traffic come first. `now`: Unix time. Pure.
std::vector<std::string> render_top(const MetricFamilies& before, const MetricFamilies& after, double seconds,
                                    uint64_t now, size_t width, size_t height);

// 1234567 as "1.23M": three digits and a letter. Pure.
std::string short_number(double number);

}  // namespace culvert::daemon
