// The pages that the daemon serves, as text. Names of metrics are stable.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "src/device/metrics.h"

namespace culvert::daemon {

// The Prometheus text exposition format, version 0.0.4, of all but single peers: it grows with the number of workers,
// not with that of peers. Pure.
std::string metrics_text(const device::Metrics& metrics);

// What is told of single peers is kPeerFamilies families, numbered from 0: the samples that these peers of `device`
// have in one of them, behind the family's head if that is wanted. MetricsPage puts them together. Pure.
inline constexpr size_t kPeerFamilies = 7;
std::string peer_family_text(size_t family, const std::string& device, std::span<const device::PeerMetrics> peers,
                             bool with_head);

// Several of those texts as one: each family once, with the samples of all. Pure.
std::string join_metrics(const std::vector<std::string>& texts);

// Whoever answers lives, and the control loop turns; the link's state is said beside it, for a device that its owner
// took down is healthy. Pure.
std::string health_text(const device::Metrics& metrics);

}  // namespace culvert::daemon
