// What a worker knows of its bulk queue, against the program's part played here.
#include "tun/lanes.h"

#include <gtest/gtest.h>

#include <memory>

namespace culvert::tun {
namespace {

class LaneReaderTest : public testing::Test {
 protected:
  // As the program does.
  void came(uint64_t when) {
    if (shared->queued - shared->taken >= LANE_ROOM) return;
    shared->stamps[shared->queued++ % LANE_STAMPS] = when;
  }

  const std::unique_ptr<lane> shared = std::make_unique<lane>();
  LaneReader reader{*shared};
};

TEST_F(LaneReaderTest, TellsHowLongEachPacketWaited) {
  uint64_t now = 1'000'000;
  for (int round = 0; round < 3000; ++round) {
    for (uint64_t i = 1; i <= 5; ++i) came(now + i);
    now += 100;
    reader.look();
    for (uint64_t i = 1; i <= 5; ++i) EXPECT_EQ(reader.take(now), 100 - i);
    EXPECT_EQ(reader.take(now), 0u) << "one that nobody told of";
    reader.hand_on();
    EXPECT_EQ(shared->done, now - 95);
    EXPECT_EQ(shared->taken, shared->queued);
  }
}

TEST_F(LaneReaderTest, SaysThatPacketsAreDoneOnlyWhenTheyAreHandedOn) {
  came(100);
  came(200);
  reader.look();
  reader.take(300);
  EXPECT_EQ(shared->done, 0u);
  reader.hand_on();
  EXPECT_EQ(shared->done, 100u);
  reader.take(300);
  EXPECT_EQ(shared->done, 100u);
  reader.hand_on();
  EXPECT_EQ(shared->done, 200u);
}

// They were counted, but never got into the queue: a reader that is behind says too early a time, never too late a one.
TEST_F(LaneReaderTest, ForgetsWhatWasDroppedOnceTheQueueIsEmpty) {
  for (uint64_t i = 1; i <= 10; ++i) came(1000 + i);
  reader.look();
  for (int i = 0; i < 4; ++i) reader.take(2000);
  reader.hand_on();
  EXPECT_EQ(shared->done, 1004u);
  reader.look();
  reader.found_empty();
  came(3000);
  reader.look();
  EXPECT_EQ(reader.take(3010), 10u);
}

TEST_F(LaneReaderTest, KeepsWhatCameWhileItLooked) {
  came(1000);
  reader.look();
  came(1001);  // the read before found nothing: this one came later
  reader.found_empty();
  reader.look();
  EXPECT_EQ(reader.take(1011), 10u);
}

TEST_F(LaneReaderTest, CountsNoMoreThanTheQueueHolds) {
  for (uint64_t i = 1; i <= 5000; ++i) came(i);
  EXPECT_EQ(shared->queued, uint32_t{LANE_ROOM});
  reader.look();
  for (uint64_t i = 1; i <= LANE_ROOM; ++i) EXPECT_EQ(reader.take(10'000), 10'000 - i);
}

TEST_F(LaneReaderTest, TellsOnceThatFlowsHaveMoved) {
  EXPECT_FALSE(reader.has_moved());
  shared->moves += 3;
  EXPECT_TRUE(reader.has_moved());
  EXPECT_FALSE(reader.has_moved());
}

}  // namespace
}  // namespace culvert::tun
