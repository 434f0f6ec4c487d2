#include "bench/traffic/probe_log.h"

#include <gtest/gtest.h>

namespace culvert::traffic {
namespace {

constexpr Stretch kSender = kStretches[1], kWhole = kStretches.back();

TEST(ProbeLog, KnowsEachLengthByItsTurn) {
  for (uint32_t sequence = 0; sequence < 3 * kProbeLengths; ++sequence)
    EXPECT_EQ(turn_of_message(inner_length_of(sequence) + 32), sequence % kProbeLengths);
  for (const uint32_t length : {0u, 32u, 112u, 129u, 128 + 16 * kProbeLengths, 1452u, 65000u})
    EXPECT_FALSE(turn_of_message(length)) << length;
}

TEST(ProbeLog, TimesWhatWasSeenAtBothEnds) {
  ProbeLog log(4);
  for (const int64_t at : {1000, 2000, 3000, 4000}) log.sent(at);
  log.seen(0, Place::near_inner, 1100), log.seen(0, Place::near_outer, 6100), log.seen(0, Place::received, 8000);
  log.seen(1, Place::near_inner, 2100), log.seen(1, Place::received, 9000);    // not seen outside
  log.seen(2, Place::near_inner, 3100), log.seen(2, Place::near_outer, 3200);  // lost
  log.seen(9, Place::received, 9000);                                          // of no probe
  log.seen(0, Place::near_outer, 7100);                                        // a second time
  EXPECT_EQ(log.summarize(kSender).count, 1);
  EXPECT_EQ(log.summarize(kSender).mean_us, 5);
  EXPECT_EQ(log.summarize(kWhole).count, 2);
  EXPECT_EQ(log.count_at(Place::received), 2);
  EXPECT_EQ(log.count(), 4);
}

TEST(ProbeLog, TakesTheLatestProbeOfATurn) {
  ProbeLog log(3 * kProbeLengths);
  for (uint32_t sequence = 0; sequence < 2 * kProbeLengths + 3; ++sequence) {
    log.sent(1000 * (sequence + 1));
    log.seen(sequence, Place::near_inner, 1000 * (sequence + 1) + 100);
    log.seen(sequence, Place::received, 1'000'000);
  }
  const int64_t after_all = 1000 * (2 * kProbeLengths + 3) + 500;
  log.seen_by_turn(2, Place::near_outer, after_all);  // the last
  log.seen_by_turn(3, Place::near_outer, after_all);  // the first of the last 64
  log.seen_by_turn(5, Place::near_outer, 1000 * 6);   // the first of all of this length, as it leaves
  log.seen_by_turn(7, Place::near_outer, 1000 * 7);   // none of this length has left yet
  const LatencySummary found = log.summarize(kSender);
  EXPECT_EQ(found.count, 3);
  EXPECT_EQ(found.max_us, (kProbeLengths - 1) + 0.4);
  EXPECT_EQ(found.p50_us, 0.4);
}

TEST(ProbeLog, ForgetsProbesWhileTheClockWasSet) {
  ProbeLog log(1);
  log.sent(1000);
  log.seen(0, Place::near_inner, 2000);
  log.seen(0, Place::received, 5'000'000'000);
  log.forget(0);
  log.forget(1);
  EXPECT_EQ(log.summarize(kWhole).count, 0);
}

}  // namespace
}  // namespace culvert::traffic
