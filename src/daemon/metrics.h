// The pages that the daemon serves, as text. Names of metrics are stable.
#pragma once

#include <string>
#include <vector>

#include "src/device/metrics.h"

namespace culvert::daemon {

// The Prometheus text exposition format, version 0.0.4. It grows with the number of workers, and with that of peers
// only where Metrics::each_peer holds them.
// Pure.
std::string metrics_text(const device::Metrics& metrics);

// Several of those texts as one: each family once, with the samples of all. Pure.
std::string join_metrics(const std::vector<std::string>& texts);

// Whoever answers lives, and the control loop turns; the link's state is said beside it, for a device that its owner
// took down is healthy. Pure.
std::string health_text(const device::Metrics& metrics);

}  // namespace culvert::daemon
