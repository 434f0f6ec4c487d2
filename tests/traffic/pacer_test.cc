#include "bench/traffic/pacer.h"

#include <gtest/gtest.h>

namespace culvert::traffic {
namespace {

constexpr int64_t kMillisecond = 1'000'000;

TEST(Pacer, KeepsTheRateHoweverItIsAsked) {
  struct Case {
    const char* name;
    double rate;
    int64_t step;
    uint64_t in_a_second;
  };
  const Case cases[] = {
      {"one a millisecond, asked each millisecond", 1000, kMillisecond, 1001},
      {"one a millisecond, asked all the time", 1000, 7000, 1000},
      {"a million, asked each tenth of a millisecond", 1e6, 100'000, 1'000'001},
      {"a rate that is no whole interval", 333'333.3, 100'000, 333'334},
      {"fewer than one a second", 0.5, kMillisecond, 1},
  };
  for (const Case& c : cases) {
    Pacer pacer(c.rate, 5);
    uint64_t sent = 0;
    for (int64_t now = 5; now <= 5 + 1000 * kMillisecond; now += c.step) {
      const uint64_t due = pacer.due(now);
      pacer.sent(due);
      sent += due;
    }
    EXPECT_EQ(sent, c.in_a_second) << c.name;
  }
}

TEST(Pacer, CatchesUpAfterAShortPauseOnly) {
  Pacer pacer(1e6, 0);
  EXPECT_EQ(pacer.due(kMillisecond - 1), 1000U);
  pacer.sent(1000);
  EXPECT_EQ(pacer.due(kMillisecond), 1U);
  // 50 ms later: what was due in the last 2 ms, and not the rest.
  EXPECT_NEAR(static_cast<double>(pacer.due(51 * kMillisecond)), 2000, 1);
  pacer.sent(2000);
  EXPECT_LE(pacer.due(51 * kMillisecond), 1U);
}

TEST(Pacer, SaysWhenMoreIsDue) {
  Pacer pacer(1e6, 0);
  for (const uint64_t wanted : {1U, 2U, 100U}) {
    const int64_t when = pacer.time_when_due(wanted);
    EXPECT_GE(pacer.due(when), wanted);
    EXPECT_LT(pacer.due(when - 1002), wanted);
    pacer.sent(pacer.due(when));
  }
}

}  // namespace
}  // namespace culvert::traffic
