#include "src/protocol/tai64n.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string_view>

#include "tests/hex.h"

namespace culvert::protocol {
namespace {

using namespace std::chrono_literals;
using tests::to_hex;

constexpr WallTime at(std::chrono::nanoseconds since_epoch) {
  return WallTime(since_epoch);
}

struct Tai64nCase {
  const char* name;
  WallTime time;
  std::string_view expected;
};

constexpr Tai64nCase kCases[] = {
    {"the Unix epoch is ten seconds into TAI", at(0s), "400000000000000a00000000"},
    {"a whole second", at(1700000000s), "400000006553f10a00000000"},
    {"nanoseconds below the granularity vanish", at(1700000000s + 16777215ns), "400000006553f10a00000000"},
    {"the granularity is 2^24", at(1700000000s + 16777216ns), "400000006553f10a01000000"},
    {"the end of a second", at(1700000000s + 999999999ns), "400000006553f10a3b000000"},
    {"beyond 2038", at(4294967296s), "400000010000000a00000000"},
    {"before 1970", at(-1ns), "40000000000000093b000000"},
};

TEST(Tai64n, IsBigEndianAndWhitened) {
  for (const Tai64nCase& c : kCases) EXPECT_EQ(to_hex(tai64n(c.time).bytes), c.expected) << c.name;
}

TEST(Tai64n, ComparesAsTimeDoes) {
  EXPECT_LT(tai64n(at(255s)), tai64n(at(256s)));
  EXPECT_LT(tai64n(at(65535s + 999ms)), tai64n(at(65536s)));
  EXPECT_LT(tai64n(at(1s)), tai64n(at(1s + 20ms)));
  EXPECT_EQ(tai64n(at(1s)), tai64n(at(1s + 16ms)));
  EXPECT_LT(Tai64n{}, tai64n(at(0s)));
}

// Or an honest initiator would be taken for a replay.
TEST(Tai64n, DiffersForInitiationsThatTheFloodLimitAllows) {
  for (auto time = at(1700000000s); time < at(1700000002s); time += 1ms)
    ASSERT_LT(tai64n(time), tai64n(time + 20ms)) << to_hex(tai64n(time).bytes);
}

}  // namespace
}  // namespace culvert::protocol
