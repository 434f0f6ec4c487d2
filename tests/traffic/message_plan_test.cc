#include "bench/traffic/message_plan.h"

#include <gtest/gtest.h>

#include <map>

#include "io/udp_sockets.h"

namespace culvert::traffic {
namespace {

using io::Family;

TEST(MessagePlan, ParsesSizes) {
  struct Case {
    const char* text;
    int bytes;  // 0: IMIX; -1: refused
  };
  const Case cases[] = {{"imix", 0},  {"16", 16},  {"64", 64},  {"1372", 1372}, {"65507", 65507},
                        {"0", -1},    {"15", -1},  {"-1", -1},  {"65508", -1},  {"", -1},
                        {"IMIX", -1}, {"64 ", -1}, {"6x4", -1}, {"1e3", -1},    {"99999999999", -1}};
  for (const Case& c : cases) {
    const auto size = parse_payload_size(c.text);
    EXPECT_EQ(size ? static_cast<int>(size->bytes) : -1, c.bytes) << c.text;
  }
}

TEST(MessagePlan, FillsSuperpackets) {
  struct Case {
    const char* name;
    uint32_t payload_bytes, max_datagrams, datagrams;
  };
  const Case cases[] = {
      {"without GSO one by one", 64, 1, 1},
      {"small ones up to the number", 64, 128, 128},
      {"small ones on an old kernel", 64, 64, 64},
      {"long ones up to the bytes", 1372, 128, 47},
      {"two that just fit", 32736, 128, 2},
      {"one that does not fit twice", 32737, 128, 1},
      {"the longest", 65507, 128, 1},
  };
  for (const Case& c : cases) {
    const auto plan = plan_messages({c.payload_bytes}, Family::v4, c.max_datagrams);
    EXPECT_EQ(plan, (std::vector<MessageShape>{{c.payload_bytes, c.datagrams}})) << c.name;
  }
}

TEST(MessagePlan, MixesSevenFourOne) {
  struct Case {
    const char* name;
    Family family;
    uint32_t max_datagrams;
    uint32_t small;  // payload of the smallest
    size_t messages;
  };
  const Case cases[] = {
      {"IPv4 one by one", Family::v4, 1, 36, 12},
      {"IPv6 one by one", Family::v6, 1, 16, 12},
      {"superpackets of an old kernel", Family::v4, 64, 36, 3},
      {"superpackets", Family::v6, 128, 16, 3},
      {"superpackets too short for a run", Family::v4, 6, 36, 12},
  };
  for (const Case& c : cases) {
    std::map<uint32_t, uint32_t> datagrams;
    const auto plan = plan_messages({}, c.family, c.max_datagrams);
    for (const MessageShape& shape : plan) {
      EXPECT_LE(shape.datagrams, c.max_datagrams) << c.name;
      EXPECT_LE(shape.bytes(), io::kMaxTrainBytes) << c.name;
      datagrams[shape.payload_bytes] += shape.datagrams;
    }
    EXPECT_EQ(plan.size(), c.messages) << c.name;
    EXPECT_EQ(datagrams[c.small], datagrams[c.small + 1420 - 64] * 7) << c.name;
    EXPECT_EQ(datagrams[c.small + 576 - 64], datagrams[c.small + 1420 - 64] * 4) << c.name;
  }
}

}  // namespace
}  // namespace culvert::traffic
