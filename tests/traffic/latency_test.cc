#include "bench/traffic/latency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace culvert::traffic {
namespace {

// 1, 2 ... count microseconds, in random order.
LatencySamples one_to(int64_t count) {
  std::vector<int64_t> times(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) times[static_cast<size_t>(i)] = (i + 1) * 1000;
  std::shuffle(times.begin(), times.end(), std::mt19937(1));
  LatencySamples samples(times.size());
  for (const int64_t time : times) samples.add(time);
  return samples;
}

TEST(LatencySamples, PercentilesAreNearestRanks) {
  struct Case {
    const char* name;
    int64_t count;
    double mean, p50, p99, p999, max;
  };
  const Case cases[] = {
      {"one sample is all of them", 1, 1, 1, 1, 1, 1},          {"of two, the median is the first", 2, 1.5, 1, 2, 2, 2},
      {"of three, the median is the second", 3, 2, 2, 3, 3, 3}, {"a hundred", 100, 50.5, 50, 99, 100, 100},
      {"a hundred and one", 101, 51, 51, 100, 101, 101},        {"a thousand", 1000, 500.5, 500, 990, 999, 1000},
      {"ten thousand", 10000, 5000.5, 5000, 9900, 9990, 10000},
  };
  for (const Case& c : cases) {
    const LatencySummary summary = one_to(c.count).summarize();
    EXPECT_EQ(summary.count, static_cast<uint64_t>(c.count)) << c.name;
    EXPECT_DOUBLE_EQ(summary.mean_us, c.mean) << c.name;
    EXPECT_DOUBLE_EQ(summary.p50_us, c.p50) << c.name;
    EXPECT_DOUBLE_EQ(summary.p99_us, c.p99) << c.name;
    EXPECT_DOUBLE_EQ(summary.p999_us, c.p999) << c.name;
    EXPECT_DOUBLE_EQ(summary.max_us, c.max) << c.name;
  }
}

TEST(LatencySamples, NoneAreAllZeros) {
  const LatencySummary summary = LatencySamples(10).summarize();
  EXPECT_EQ(summary.count, 0U);
  EXPECT_EQ(summary.mean_us, 0);
  EXPECT_EQ(summary.max_us, 0);
}

TEST(LatencySamples, GrowBeyondWhatWasExpected) {
  LatencySamples samples(2);
  for (int i = 0; i < 100; ++i) samples.add(5000);
  EXPECT_EQ(samples.summarize().count, 100U);
}

}  // namespace
}  // namespace culvert::traffic
