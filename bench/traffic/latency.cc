#include "bench/traffic/latency.h"

#include <algorithm>
#include <numeric>

namespace culvert::traffic {
namespace {

// In whole thousandths, so that no rounding moves a rank.
double percentile_us(const std::vector<int64_t>& sorted, size_t thousandths) {
  const size_t rank = (sorted.size() * thousandths + 999) / 1000;
  return static_cast<double>(sorted[std::max<size_t>(rank, 1) - 1]) / 1e3;
}

}  // namespace

LatencySummary LatencySamples::summarize() {
  if (samples_.empty()) return {};
  std::sort(samples_.begin(), samples_.end());
  const auto sum = static_cast<double>(std::accumulate(samples_.begin(), samples_.end(), int64_t{0}));
  return {.count = samples_.size(),
          .mean_us = sum / static_cast<double>(samples_.size()) / 1e3,
          .p50_us = percentile_us(samples_, 500),
          .p90_us = percentile_us(samples_, 900),
          .p99_us = percentile_us(samples_, 990),
          .p999_us = percentile_us(samples_, 999),
          .max_us = static_cast<double>(samples_.back()) / 1e3};
}

}  // namespace culvert::traffic
