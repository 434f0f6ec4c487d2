#include "io/local_addresses.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/io/outgoing.h"

namespace culvert::io {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

int reads = 0;
std::vector<Address> host;

std::vector<Address> read_host() {
  ++reads;
  return host;
}

Address address(const std::string& text) {
  return endpoint(text + ":1").remote;
}

TEST(LocalAddresses, AreThoseOfTheHost) {
  const std::vector<Address> ours = read_local_addresses();
  EXPECT_NE(std::ranges::find(ours, address("127.0.0.1")), ours.end());
  EXPECT_EQ(std::ranges::find(ours, address("203.0.113.77")), ours.end());
}

TEST(LocalAddresses, AreReadAtMostOnceASecond) {
  reads = 0;
  host = {address("192.0.2.1"), address("[2001:db8::1]")};
  LocalAddresses addresses(read_host);
  EXPECT_EQ(reads, 0);
  EXPECT_TRUE(addresses.contain(address("192.0.2.1"), seconds(5)));
  EXPECT_TRUE(addresses.contain(address("[2001:db8::1]"), seconds(5)));
  EXPECT_FALSE(addresses.contain(address("192.0.2.2"), seconds(5)));
  host.push_back(address("192.0.2.2"));
  EXPECT_FALSE(addresses.contain(address("192.0.2.2"), seconds(6) - milliseconds(1)));
  EXPECT_EQ(reads, 1);
  EXPECT_TRUE(addresses.contain(address("192.0.2.2"), seconds(6)));
  EXPECT_EQ(reads, 2);
}

TEST(LocalAddresses, AreAnyWhenTheyCannotBeTold) {
  host.clear();
  LocalAddresses addresses(read_host);
  EXPECT_TRUE(addresses.contain(address("192.0.2.1"), seconds(0)));
}

}  // namespace
}  // namespace culvert::io
