#include "io/counters.h"

#include <gtest/gtest.h>

namespace culvert::io {
namespace {

struct Three {
  Counter sent, received, lost;
};

using Entry = CounterEntry<Three>;
constexpr Entry kSent = {&Three::sent, "sent_total", "Sent."};
constexpr Entry kReceived = {&Three::received, "received_total", "Received."};
constexpr Entry kLost = {&Three::lost, "lost_total", "Lost."};

TEST(Counters, TakesATableThatNamesEveryMember) {
  EXPECT_TRUE(describes_all(std::to_array<Entry>({kSent, kReceived, kLost})));
  EXPECT_TRUE(describes_all(std::to_array<Entry>({kLost, kReceived, kSent}))) << "the order is free";
}

TEST(Counters, RefusesATableThatLacksAMember) {
  EXPECT_FALSE(describes_all(std::to_array<Entry>({kSent, kReceived})));
}

TEST(Counters, RefusesAMemberThatIsNamedTwiceInAnothersPlace) {
  EXPECT_FALSE(describes_all(std::to_array<Entry>({kSent, {&Three::sent, "sent_again_total", "Sent."}, kLost})));
}

TEST(Counters, RefusesAFamilyOfTwoMembersThatNothingTellsApart) {
  EXPECT_FALSE(describes_all(std::to_array<Entry>({kSent, {&Three::received, "sent_total", "Sent."}, kLost})));
}

TEST(Counters, RefusesNamesThatAreNoCountersAndEmptyHelp) {
  EXPECT_FALSE(describes_all(std::to_array<Entry>({kSent, kReceived, {&Three::lost, "lost", "Lost."}})));
  EXPECT_FALSE(describes_all(std::to_array<Entry>({kSent, kReceived, {&Three::lost, "lost_total", ""}})));
}

TEST(Counters, TakesFamiliesOfLabelledNeighboursOnly) {
  constexpr Entry kUp = {&Three::sent, "messages_total", "Messages.", "kind=\"sent\""};
  constexpr Entry kDown = {&Three::received, "messages_total", "Messages.", "kind=\"received\""};
  EXPECT_FALSE(describes_all(std::to_array<Entry>({kUp, kLost, kDown})));
  EXPECT_TRUE(describes_all(std::to_array<Entry>({kUp, kDown, kLost})));
}

TEST(Counters, AddsValuesInTheOrderOfTheTable) {
  constexpr auto kTable = std::to_array<Entry>({kLost, kReceived, kSent});
  Three counters;
  counters.sent.add(1);
  counters.received.add(20);
  counters.lost.add(300);
  CounterValues<kTable.size()> values{1000, 1000, 1000};
  add_counters(counters, kTable, values);
  EXPECT_EQ(values, (CounterValues<3>{1300, 1020, 1001}));
}

}  // namespace
}  // namespace culvert::io
