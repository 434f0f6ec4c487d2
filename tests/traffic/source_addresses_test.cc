#include "bench/traffic/source_addresses.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "src/device/encoding.h"

namespace culvert::traffic {
namespace {

std::string text(const io::Address& address) {
  io::Endpoint endpoint;
  endpoint.remote = address;
  return io::to_string(endpoint);
}

TEST(SourceAddresses, AreInTheirPrefix) {
  struct Case {
    const char* prefix;
    uint32_t number;
    const char* address;
  };
  const Case cases[] = {
      {"10.71.0.0/16", 0, "10.71.0.1:0"},          {"10.71.0.0/16", 255, "10.71.1.0:0"},
      {"10.71.0.0/16", 65534, "10.71.255.255:0"},  {"10.71.0.0/16", 65535, "10.71.0.1:0"},
      {"10.71.0.8/32", 5, "10.71.0.8:0"},          {"10.71.0.8/31", 0, "10.71.0.9:0"},
      {"10.71.0.8/31", 1, "10.71.0.9:0"},          {"10.71.16.0/20", 4000, "10.71.31.161:0"},
      {"0.0.0.0/0", 0x1020304, "1.2.3.5:0"},       {"fd71::/48", 0, "[fd71:0:0:1::1]:0"},
      {"fd71::/48", 0x1ff, "[fd71:0:0:200::1]:0"}, {"fd71:0:0:5::/64", 1, "[fd71:0:0:5::2]:0"},
      {"fd71::5/128", 9, "[fd71::5]:0"},           {"fd00::/32", 65535, "[fd00:0:1::1]:0"},
  };
  for (const Case& c : cases) {
    const auto prefix = device::parse_prefix(c.prefix, device::PrefixLength::required);
    ASSERT_TRUE(prefix) << c.prefix;
    EXPECT_EQ(text(source_address(*prefix, c.number)), c.address) << c.prefix << ' ' << c.number;
  }
}

TEST(SourceAddresses, AreAllDifferent) {
  for (const char* prefix : {"10.71.0.0/16", "fd71::/48", "fd71:0:0:5::/64"}) {
    std::set<std::string> seen;
    const auto parsed = device::parse_prefix(prefix, device::PrefixLength::required);
    for (uint32_t number = 0; number < 10'000; ++number) seen.insert(text(source_address(*parsed, number)));
    EXPECT_EQ(seen.size(), 10'000U) << prefix;
  }
}

}  // namespace
}  // namespace culvert::traffic
