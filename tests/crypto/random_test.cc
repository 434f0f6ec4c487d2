#include "crypto/random.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace culvert::crypto {
namespace {

TEST(Random, FillsRangesThatDiffer) {
  std::array<uint8_t, 32> a{};
  std::array<uint8_t, 32> b{};
  fill_random(a);
  fill_random(b);
  EXPECT_NE(a, b);
  fill_random({});
}

TEST(Random, DrawsEveryValueBelowTheBoundAndNoOther) {
  std::set<uint32_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random_below(5));
  EXPECT_EQ(seen, (std::set<uint32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(random_below(1), 0U);
  EXPECT_EQ(random_below(0), 0U);
}

}  // namespace
}  // namespace culvert::crypto
