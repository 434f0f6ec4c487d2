#include "bench/scale_sim/fair_share.h"

#include <gtest/gtest.h>

#include <limits>

namespace culvert::scale_sim {
namespace {

constexpr double kNoEnd = std::numeric_limits<double>::infinity();

User user(double weight, std::initializer_list<User::Use> uses) {
  User user;
  user.weight = weight;
  for (const User::Use& use : uses) user.add(use.resource, use.cost);
  return user;
}

TEST(FairShare, DividesAResourceByWeight) {
  std::vector<double> left(1, 1.0);
  const auto rates = share_fairly({user(1, {{0, 1}}), user(3, {{0, 1}})}, kNoEnd, left);
  EXPECT_DOUBLE_EQ(rates[0], 0.25);
  EXPECT_DOUBLE_EQ(rates[1], 0.75);
  EXPECT_NEAR(left[0], 0, 1e-12);
}

TEST(FairShare, GivesWhatAStoppedUserLeavesToOthers) {
  // User 0 and 1 meet at resource 0; user 1 and 2 at resource 1, where a unit costs less.
  std::vector<double> left(2, 1.0);
  const auto rates = share_fairly({user(1, {{0, 1}}), user(1, {{0, 1}, {1, 0.5}}), user(1, {{1, 0.5}})}, kNoEnd, left);
  EXPECT_DOUBLE_EQ(rates[0], 0.5);
  EXPECT_DOUBLE_EQ(rates[1], 0.5);
  EXPECT_DOUBLE_EQ(rates[2], 1.5);
}

TEST(FairShare, StopsAtTheHighestLevel) {
  std::vector<double> left(2, 1.0);
  const auto rates = share_fairly({user(0.25, {{0, 2}}), user(4, {{1, 1}})}, 1, left);
  EXPECT_DOUBLE_EQ(rates[0], 0.25);
  EXPECT_DOUBLE_EQ(rates[1], 1);
  EXPECT_DOUBLE_EQ(left[0], 0.5);
  EXPECT_NEAR(left[1], 0, 1e-12);
}

TEST(FairShare, GivesNothingOfAnEmptyResource) {
  std::vector<double> left = {0, 1};
  const auto rates = share_fairly({user(1, {{0, 1}, {1, 1}}), user(1, {{1, 1}})}, kNoEnd, left);
  EXPECT_EQ(rates[0], 0);
  EXPECT_DOUBLE_EQ(rates[1], 1);
}

TEST(FairShare, AddsUpTheUsesOfOneResource) {
  std::vector<double> left(1, 1.0);
  EXPECT_DOUBLE_EQ(share_fairly({user(1, {{0, 1}, {0, 3}})}, kNoEnd, left)[0], 0.25);
}

TEST(FairShare, OfNobodyIsNothing) {
  std::vector<double> left(3, 1.0);
  EXPECT_TRUE(share_fairly({}, kNoEnd, left).empty());
  EXPECT_EQ(left, std::vector<double>(3, 1.0));
}

}  // namespace
}  // namespace culvert::scale_sim
