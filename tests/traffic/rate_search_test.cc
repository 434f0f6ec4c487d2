#include "bench/traffic/rate_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>

namespace culvert::traffic {
namespace {

// A path that carries `capacity`, with a sender that reaches `fastest`. Overload costs more than the excess.
class FakePath {
 public:
  FakePath(double capacity, double fastest, double collapse = 1)
      : capacity_(capacity), fastest_(fastest), collapse_(collapse) {}

  // Each trial loses a little with this probability, whatever its rate.
  FakePath& with_accidents(double probability) {
    accidents_ = probability;
    return *this;
  }

  io::Result<Trial> operator()(double pps) {
    const double rate = pps == 0 ? fastest_ : std::min(pps, fastest_);
    double arriving = rate <= capacity_ ? rate : capacity_ * collapse_;
    if (std::uniform_real_distribution<>(0, 1)(random_) < accidents_) arriving *= 0.99;
    return Trial{rate, static_cast<uint64_t>(rate), static_cast<uint64_t>(arriving)};
  }

 private:
  double capacity_, fastest_, collapse_;
  double accidents_ = 0;
  std::mt19937 random_{7};
};

double found(const FakePath& path, const RateSearchOptions& options = {}) {
  const auto result = search_rate(options, path);
  return result ? result->pps : -1;
}

TEST(RateSearch, ConvergesToTheTrueRate) {
  struct Case {
    const char* name;
    double capacity, fastest, collapse, resolution;
  };
  const Case cases[] = {
      {"a path half as fast as the sender", 500'000, 1'000'000, 1, 0.05},
      {"a path a hundred times slower", 10'000, 1'000'000, 1, 0.05},
      {"a path hardly slower than the sender", 990'000, 1'000'000, 1, 0.05},
      {"a path that collapses under overload", 300'000, 1'000'000, 0.1, 0.05},
      {"a path that carries nothing under overload", 300'000, 1'000'000, 0, 0.05},
      {"a fine resolution", 123'456, 1'000'000, 1, 0.002},
      {"a coarse resolution", 123'456, 1'000'000, 1, 0.3},
      {"a slow path", 100, 20'000, 1, 0.05},
  };
  for (const Case& c : cases) {
    RateSearchOptions options;
    options.resolution = c.resolution;
    const double pps = found(FakePath(c.capacity, c.fastest, c.collapse), options);
    EXPECT_LE(pps, c.capacity + 1) << c.name;
    EXPECT_GE(pps, c.capacity * (1 - c.resolution) - 1) << c.name;
  }
}

TEST(RateSearch, TakesTheSendersRateIfNothingIsLost) {
  const auto result = search_rate({}, FakePath(2'000'000, 1'000'000));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->pps, 1'000'000);
  EXPECT_EQ(result->trials.size(), 1U);
}

TEST(RateSearch, AllowsTheLossThatItWasGiven) {
  RateSearchOptions options;
  options.loss = 0.1;
  const double pps = found(FakePath(500'000, 1'000'000), options);
  EXPECT_GE(pps, 500'000 / 0.9 * 0.95);
  EXPECT_LE(pps, 500'000 / 0.9 + 1);
}

TEST(RateSearch, AccidentsDoNotLeadItAstray) {
  for (const double probability : {0.05, 0.1, 0.2}) {
    const double pps = found(FakePath(400'000, 1'000'000).with_accidents(probability));
    EXPECT_GE(pps, 400'000 * 0.9) << probability;
    EXPECT_LE(pps, 400'000 + 1) << probability;
  }
}

TEST(RateSearch, EndsWhenNothingPasses) {
  const auto result = search_rate({}, [](double pps) -> io::Result<Trial> {
    return Trial{pps == 0 ? 1e6 : pps, 1000, 0};
  });
  ASSERT_TRUE(result);
  EXPECT_EQ(result->pps, 0);
  EXPECT_LT(result->trials.size(), 61U);
}

TEST(RateSearch, EndsWhenTheSenderBecomesSlow) {
  int trial = 0;
  const auto result = search_rate({}, [&trial](double) -> io::Result<Trial> {
    return ++trial == 1 ? Trial{1e6, 1000000, 500000} : Trial{1000, 1000, 1000};
  });
  ASSERT_TRUE(result);
  EXPECT_EQ(result->pps, 1000);
}

TEST(RateSearch, PassesErrorsOn) {
  const auto result = search_rate({}, [](double) -> io::Result<Trial> { return io::Error{0, "no sink"}; });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().text(), "no sink");
}

}  // namespace
}  // namespace culvert::traffic
