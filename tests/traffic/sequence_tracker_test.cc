#include "bench/traffic/sequence_tracker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace culvert::traffic {
namespace {

using Numbers = std::vector<uint32_t>;

Numbers range(uint32_t from, uint32_t to) {
  Numbers numbers(to - from);
  std::iota(numbers.begin(), numbers.end(), from);
  return numbers;
}

Numbers joined(std::initializer_list<Numbers> parts) {
  Numbers all;
  for (const Numbers& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST(SequenceTracker, Accounts) {
  constexpr uint32_t kWindow = SequenceTracker::kWindow;
  struct Case {
    const char* name;
    Numbers numbers;
    uint64_t arrived, lost, reordered, duplicates;
  };
  const std::vector<Case> cases = {
      {"nothing", {}, 0, 0, 0, 0},
      {"all in order", range(0, 1000), 1000, 0, 0, 0},
      {"the first one missing", range(1, 10), 9, 1, 0, 0},
      {"one missing in between", {0, 1, 3, 4}, 4, 1, 0, 0},
      {"two swapped", {0, 2, 1, 3}, 4, 0, 1, 0},
      {"one late by three", {1, 2, 3, 0}, 4, 0, 1, 0},
      {"all backwards", {3, 2, 1, 0}, 4, 0, 3, 0},
      {"one twice", {0, 1, 1, 2}, 3, 0, 0, 1},
      {"one again much later", {0, 1, 2, 3, 4, 0}, 5, 0, 0, 1},
      {"a late one twice", {0, 2, 1, 1}, 3, 0, 1, 1},
      {"everything twice", joined({range(0, 100), range(0, 100)}), 100, 0, 0, 100},
      {"a gap as long as the window", joined({range(0, 1), range(kWindow, kWindow + 1)}), 2, kWindow - 1, 0, 0},
      {"a gap longer than the window", joined({range(0, 1), range(3 * kWindow, 3 * kWindow + 2)}), 3, 3 * kWindow - 1,
       0, 0},
      {"a gap, and numbers that share places with earlier ones", joined({range(0, 64), {kWindow + 64, kWindow + 1}}),
       66, kWindow - 1, 1, 0},
      {"a whole window late", joined({range(1, kWindow + 1), {0, kWindow + 1}}), kWindow + 2, 0, 1, 0},
      {"the oldest of the window again", joined({range(0, kWindow), {0}}), kWindow, 0, 0, 1},
  };
  for (const Case& c : cases) {
    const auto tracker = std::make_unique<SequenceTracker>();
    for (const uint32_t number : c.numbers) tracker->record(number);
    EXPECT_EQ(tracker->arrived(), c.arrived) << c.name;
    EXPECT_EQ(tracker->lost(), c.lost) << c.name;
    EXPECT_EQ(tracker->reordered(), c.reordered) << c.name;
    EXPECT_EQ(tracker->duplicates(), c.duplicates) << c.name;
  }
}

// Against a set and a maximum: random losses, copies and permutations within the window.
TEST(SequenceTracker, AgreesWithASetOverRandomPermutations) {
  std::mt19937 random(20);
  for (int round = 0; round < 200; ++round) {
    const uint32_t count = 1 + random() % 5000;
    const uint32_t spread = 1 + random() % 300;
    std::vector<std::pair<uint64_t, uint32_t>> events;  // place, number
    for (uint32_t number = 0; number < count; ++number) {
      const uint32_t copies = random() % 10 == 0 ? random() % 3 : 1;
      for (uint32_t i = 0; i < copies; ++i) events.emplace_back(number + random() % spread, number);
    }
    std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

    const auto tracker = std::make_unique<SequenceTracker>();
    std::set<uint32_t> seen;
    uint64_t reordered = 0, duplicates = 0;
    for (const auto& [place, number] : events) {
      tracker->record(number);
      const bool late = !seen.empty() && number < *seen.rbegin();
      if (!seen.insert(number).second)
        ++duplicates;
      else if (late)
        ++reordered;
    }
    const uint64_t expected = seen.empty() ? 0 : *seen.rbegin() + uint64_t{1};
    EXPECT_EQ(tracker->arrived(), seen.size()) << round;
    EXPECT_EQ(tracker->lost(), expected - seen.size()) << round;
    EXPECT_EQ(tracker->reordered(), reordered) << round;
    EXPECT_EQ(tracker->duplicates(), duplicates) << round;
  }
}

TEST(SequenceTracker, WrapsAround) {
  const auto tracker = std::make_unique<SequenceTracker>();
  // Up to the wrap by the largest steps that count as forward.
  tracker->record(UINT32_MAX / 2 - 1);
  tracker->record(UINT32_MAX - 10);
  tracker->restart();
  for (uint32_t i = 0; i < 20; ++i) tracker->record(UINT32_MAX - 9 + i);
  EXPECT_EQ(tracker->arrived(), 20U);
  EXPECT_EQ(tracker->lost(), 0U);
  EXPECT_EQ(tracker->reordered(), 0U);
}

TEST(SequenceTracker, RestartForgetsCountsAndGoesOn) {
  const auto tracker = std::make_unique<SequenceTracker>();
  for (const uint32_t number : Numbers{0, 5, 5, 4}) tracker->record(number);
  tracker->restart();
  EXPECT_EQ(tracker->arrived() + tracker->lost() + tracker->reordered() + tracker->duplicates(), 0U);
  for (const uint32_t number : Numbers{6, 8}) tracker->record(number);
  EXPECT_EQ(tracker->arrived(), 2U);
  EXPECT_EQ(tracker->lost(), 1U);
  // From before the restart: late, and it makes up for nothing lost since.
  tracker->record(1);
  EXPECT_EQ(tracker->lost(), 1U);
  EXPECT_EQ(tracker->reordered(), 1U);
}

}  // namespace
}  // namespace culvert::traffic
