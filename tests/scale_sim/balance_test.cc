#include "bench/scale_sim/balance.h"

#include <gtest/gtest.h>

#include <vector>

namespace culvert::scale_sim {
namespace {

Balance of(const std::vector<double>& load) {
  return balance_of(load);
}

TEST(Balance, IsBestWhenAllCoresHaveTheSame) {
  EXPECT_DOUBLE_EQ(of({3, 3, 3, 3}).busiest, 0.25);
  EXPECT_DOUBLE_EQ(of({3, 3, 3, 3}).jain, 1);
}

TEST(Balance, IsWorstWhenOneCoreHasEverything) {
  EXPECT_DOUBLE_EQ(of({0, 7, 0, 0}).busiest, 1);
  EXPECT_DOUBLE_EQ(of({0, 7, 0, 0}).jain, 0.25);
}

TEST(Balance, LiesBetween) {
  EXPECT_DOUBLE_EQ(of({1, 1, 2}).busiest, 0.5);
  EXPECT_DOUBLE_EQ(of({1, 1, 2}).jain, 16.0 / 18);
}

}  // namespace
}  // namespace culvert::scale_sim
