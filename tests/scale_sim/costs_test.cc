#include "bench/scale_sim/costs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert::scale_sim {
namespace {

using ::testing::HasSubstr;

TEST(Costs, OfANumberAreOfBothDirections) {
  const auto costs = read_costs("100.5");
  ASSERT_TRUE(costs);
  EXPECT_EQ(costs->outbound_ns, 100.5);
  EXPECT_EQ(costs->inbound_ns, 100.5);
  EXPECT_EQ(costs->shared_ns, Costs().shared_ns);
}

TEST(Costs, OfJsonReplaceWhatItNames) {
  const auto costs = parse_costs(
      R"({"outbound": 1, "inbound": 2, "wakeup": 0, "handover": 4, "shared": 5, "batch": 6, "bytes": 7})", "x");
  ASSERT_TRUE(costs);
  EXPECT_EQ(costs->outbound_ns, 1);
  EXPECT_EQ(costs->inbound_ns, 2);
  EXPECT_EQ(costs->wakeup_ns, 0);
  EXPECT_EQ(costs->handover_ns, 4);
  EXPECT_EQ(costs->shared_ns, 5);
  EXPECT_EQ(costs->batch, 6);
  EXPECT_EQ(costs->bytes, 7);
  EXPECT_EQ(parse_costs("{}", "x")->inbound_ns, Costs().inbound_ns);
}

TEST(Costs, ThatMakeNoSenseAreRefusedWithAReason) {
  struct Case {
    const char* json;
    const char* reason;
  };
  const Case cases[] = {
      {"", "no JSON object"},
      {"[1]", "no JSON object"},
      {"{", "no JSON object"},
      {R"({"inbuond": 1})", "'inbuond' is no cost"},
      {R"({"inbound": "1"})", "'inbound' is no number"},
      {R"({"inbound": 0})", "from 1 to"},
      {R"({"inbound": 1e10})", "from 1 to"},
      {R"({"batch": 0.5})", "from 1 to"},
      {R"({"shared": -1})", "from 0 to"},
  };
  for (const Case& c : cases) {
    const auto costs = parse_costs(c.json, "file");
    ASSERT_FALSE(costs) << c.json;
    EXPECT_THAT(costs.error().text(), HasSubstr(c.reason)) << c.json;
  }
  for (const char* word : {"0", "-3", "nan", "inf", "1e12", "1x", "/nowhere/costs.json", "/"})
    EXPECT_FALSE(read_costs(word)) << word;
}

TEST(Costs, AddUpToRates) {
  const auto costs = parse_costs(R"({"outbound": 90, "inbound": 190, "wakeup": 100, "batch": 10, "bytes": 1250})", "x");
  ASSERT_TRUE(costs);
  EXPECT_DOUBLE_EQ(costs->outbound_rate(), 1e7);
  EXPECT_DOUBLE_EQ(costs->inbound_rate(), 5e6);
  EXPECT_DOUBLE_EQ(costs->one_core_rate(), 5e6);
  EXPECT_DOUBLE_EQ(costs->gbps(5e6), 50);
}

}  // namespace
}  // namespace culvert::scale_sim
