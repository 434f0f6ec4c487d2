#include "bench/scale_sim/rendezvous.h"

#include <gtest/gtest.h>

namespace culvert::scale_sim {
namespace {

constexpr uint32_t kMembers = 8;
constexpr uint64_t kFlows = 20000;

TEST(Rendezvous, MovesOnlyTheFlowsOfAMemberThatDies) {
  const std::vector<bool> all(kMembers, true);
  for (uint32_t dead = 0; dead < kMembers; ++dead) {
    std::vector<bool> alive = all;
    alive[dead] = false;
    uint32_t moved = 0;
    for (uint64_t flow = 0; flow < kFlows; ++flow) {
      const uint32_t before = *choose_member(flow, all), after = *choose_member(flow, alive);
      ASSERT_NE(after, dead);
      if (before == dead)
        ++moved;
      else
        ASSERT_EQ(after, before);
    }
    EXPECT_GT(moved, 0U);
  }
}

TEST(Rendezvous, TakesTheFlowsBackWhenTheMemberLivesAgain) {
  std::vector<bool> alive(kMembers, true);
  std::vector<uint32_t> before;
  for (uint64_t flow = 0; flow < kFlows; ++flow) before.push_back(*choose_member(flow, alive));
  alive[3] = alive[5] = false;
  for (uint64_t flow = 0; flow < kFlows; ++flow) (void)choose_member(flow, alive);
  alive[5] = true;
  for (uint64_t flow = 0; flow < kFlows; ++flow)
    if (before[flow] == 5) ASSERT_EQ(*choose_member(flow, alive), 5U);
  alive[3] = true;
  for (uint64_t flow = 0; flow < kFlows; ++flow) ASSERT_EQ(*choose_member(flow, alive), before[flow]);
}

TEST(Rendezvous, SharesTheFlowsOfADeadMemberAmongAllOthers) {
  const std::vector<bool> all(kMembers, true);
  std::vector<bool> alive = all;
  alive[0] = false;
  std::vector<uint32_t> taken(kMembers, 0);
  uint32_t moved = 0;
  for (uint64_t flow = 0; flow < kFlows; ++flow)
    if (*choose_member(flow, all) == 0) {
      ++taken[*choose_member(flow, alive)];
      ++moved;
    }
  for (uint32_t member = 1; member < kMembers; ++member) {
    EXPECT_GT(taken[member], moved / (2 * kMembers));
    EXPECT_LT(taken[member], moved / (kMembers / 2));
  }
}

TEST(Rendezvous, ChoosesNobodyWhenAllAreDead) {
  EXPECT_FALSE(choose_member(1, std::vector<bool>(3, false)));
  EXPECT_FALSE(choose_member(1, {}));
  EXPECT_EQ(choose_member(1, {false, true, false}), 1U);
}

}  // namespace
}  // namespace culvert::scale_sim
