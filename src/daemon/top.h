// `culvert top`: what interfaces do, live.
#pragma once

#include <string>
#include <vector>

#include "src/daemon/metrics_reader.h"

namespace culvert::daemon {

int run_top(const std::vector<std::string>& words);  // [-n FRAMES] [IFNAME...]

// One interface between two looks at its metrics, `seconds` apart, as lines of at most `width` columns. At most
// `max_peers` peers, those with the most traffic first. `now`: Unix time. Pure.
std::vector<std::string> render_top(const MetricFamilies& before, const MetricFamilies& after, double seconds,
                                    uint64_t now, size_t width, size_t max_peers);

// 1234567 as "1.23M": three digits and a letter. Pure.
std::string short_number(double number);

}  // namespace culvert::daemon
