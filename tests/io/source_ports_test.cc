#include "io/source_ports.h"

#include <gtest/gtest.h>

namespace culvert::io {
namespace {

TEST(SourcePortsTest, ReadsACountOrARange) {
  struct Case {
    const char* text;
    SourcePorts ports;
  };
  for (const Case& one : {Case{"1", {1, 0}}, Case{"8", {8, 0}}, Case{"128", {128, 0}}, Case{"40000-40007", {8, 40000}},
                          Case{"7-7", {1, 7}}, Case{"65408-65535", {128, 65408}}}) {
    const auto read = parse_source_ports(one.text);
    ASSERT_TRUE(read) << one.text;
    EXPECT_EQ(*read, one.ports) << one.text;
    EXPECT_EQ(to_string(*read), one.text);
  }
}

TEST(SourcePortsTest, RefusesAnythingElse) {
  for (const char* text :
       {"",    "0",   "129", "-1",  "-",     "8-",          "-8",    "8 ",    " 8",           "+8",
        "0x8", "8,9", "0-7", "9-8", "1-129", "65530-65536", "70000", "1-2-3", "40000-40007x", "eight"})
    EXPECT_FALSE(parse_source_ports(text)) << text;
}

TEST(SourcePortsTest, ARangeEndsAtItsLastPort) {
  EXPECT_EQ(parse_source_ports("65535-65535")->last(), 65535);
  EXPECT_EQ(parse_source_ports("40000-40007")->last(), 40007);
  EXPECT_FALSE(parse_source_ports("8")->is_range());
}

}  // namespace
}  // namespace culvert::io
