// Times of transactions, every one of them kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace culvert::traffic {

struct LatencySummary {
  uint64_t count = 0;
  double mean_us = 0;
  double p50_us = 0;
  double p90_us = 0;
  double p99_us = 0;
  double p999_us = 0;
  double max_us = 0;
};

// Thread safety: none.
class LatencySamples {
 public:
  // Room for this many, so that add() allocates nothing until then.
  explicit LatencySamples(size_t expected) { samples_.reserve(expected); }

  void add(int64_t ns) { samples_.push_back(ns); }

  // Percentiles by the nearest rank: the smallest sample that at least that share of all does not exceed. All zeros
  // without samples. Puts the samples in order.
  LatencySummary summarize();

 private:
  std::vector<int64_t> samples_;
};

}  // namespace culvert::traffic
