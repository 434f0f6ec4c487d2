#include "dpdk/next_hops.h"

#include <gtest/gtest.h>

namespace culvert::dpdk {
namespace {

io::Address address(const std::string& text) {
  io::Endpoint result;
  EXPECT_TRUE(io::parse_endpoint(text + ":1", result)) << text;
  return result.remote;
}

NextHops example() {
  NextHops hops;
  hops.addresses = {{address("192.0.2.17"), 28}, {address("10.0.0.1"), 8}, {address("[2001:db8::1]"), 64}};
  hops.gateways = {address("192.0.2.30"), address("[2001:db8::ff]")};
  hops.neighbours = {{address("192.0.2.30"), {2, 0, 0, 0, 0, 30}},
                     {address("192.0.2.18"), {2, 0, 0, 0, 0, 18}},
                     {address("[2001:db8::5]"), {2, 0, 0, 0, 0, 5}},
                     {address("203.0.113.1"), {2, 0, 0, 0, 0, 99}}};
  hops.sort_neighbours();
  return hops;
}

TEST(NextHops, SendToNeighboursOnTheLinkAndToTheGatewayElse) {
  const NextHops hops = example();
  const std::pair<const char*, int> cases[] = {
      {"192.0.2.18", 18},   {"192.0.2.30", 30}, {"198.51.100.1", 30}, {"192.0.2.32", 30},    {"203.0.113.1", 30},
      {"[2001:db8::5]", 5}, {"192.0.2.19", -1}, {"10.255.0.1", -1},   {"[2001:db9::5]", -1}, {"[2001:db8::6]", -1},
  };
  for (const auto& [remote, mac] : cases) {
    const MacAddress* const found = hops.find(address(remote));
    EXPECT_EQ(found == nullptr ? -1 : (*found)[5], mac) << remote;
  }
  EXPECT_EQ(hops.hop_to(address("[2001:db9::5]")), address("[2001:db8::ff]")) << "whom to ask for";
}

TEST(NextHops, WithoutAGatewayReachTheLinkAlone) {
  NextHops hops = example();
  hops.gateways.clear();
  EXPECT_EQ(hops.find(address("198.51.100.1")), nullptr);
  EXPECT_EQ(hops.hop_to(address("198.51.100.1")), std::nullopt);
  EXPECT_NE(hops.find(address("192.0.2.18")), nullptr);
}

TEST(NextHops, FollowRoutesWhereThereAreSome) {
  NextHops hops = example();
  hops.routes = {{address("192.0.2.18"), 32, address("192.0.2.30"), {}},
                 {address("198.51.100.0"), 24, {}, {}},
                 {address("[2001:db8::]"), 64, {}, {}},
                 {address("0.0.0.0"), 0, address("192.0.2.18"), {}}};
  EXPECT_EQ(hops.hop_to(address("192.0.2.18")), address("192.0.2.30")) << "the longest prefix";
  EXPECT_EQ(hops.hop_to(address("198.51.100.77")), address("198.51.100.77")) << "on the link";
  EXPECT_EQ(hops.hop_to(address("203.0.113.1")), address("192.0.2.18")) << "the default";
  EXPECT_EQ((*hops.find(address("203.0.113.1")))[5], 18);
  EXPECT_EQ(hops.hop_to(address("[2001:db8::6]")), address("[2001:db8::6]"));
  EXPECT_EQ(hops.hop_to(address("[2001:db9::6]")), std::nullopt) << "gateways are what routes say";
}

TEST(NextHops, SendFromTheAddressThatTheOtherEndCanAnswer) {
  NextHops hops = example();
  hops.addresses.push_back({address("[fe80::1]"), 64});
  EXPECT_EQ(*hops.source_for(address("192.0.2.18")), address("192.0.2.17")) << "its network";
  EXPECT_EQ(*hops.source_for(address("10.9.9.9")), address("10.0.0.1")) << "its network, which is not the first";
  EXPECT_EQ(*hops.source_for(address("198.51.100.1")), address("192.0.2.17")) << "the gateway's network";
  EXPECT_EQ(*hops.source_for(address("[2001:db9::5]")), address("[2001:db8::1]"));
  EXPECT_EQ(*hops.source_for(address("[fe80::5]")), address("[fe80::1]"));
  EXPECT_EQ(NextHops().source_for(address("192.0.2.18")), nullptr);
  hops.routes = {{address("203.0.113.0"), 24, address("192.0.2.18"), address("10.0.0.1")},
                 {address("198.51.100.0"), 24, address("192.0.2.18"), address("10.0.0.99")},
                 {address("[::]"), 0, address("[fe80::9]"), {}}};
  EXPECT_EQ(*hops.source_for(address("203.0.113.7")), address("10.0.0.1")) << "what the route says";
  EXPECT_EQ(*hops.source_for(address("198.51.100.7")), address("192.0.2.17")) << "what it says is not ours";
  EXPECT_EQ(*hops.source_for(address("[2001:db9::5]")), address("[2001:db8::1]")) << "by a gateway of the link alone";
  EXPECT_TRUE(hops.is_own(address("10.0.0.1")));
  EXPECT_FALSE(hops.is_own(address("10.0.0.2")));
}

TEST(PublishedNextHops, AreSeenByTheNextRefresh) {
  PublishedNextHops published(example());
  PublishedNextHops::Reader reader(published);
  const NextHops& first = reader.refresh();
  EXPECT_EQ(first.neighbours.size(), 4u);
  EXPECT_EQ(&reader.refresh(), &first) << "nothing is copied while nothing changes";
  NextHops fewer = example();
  fewer.neighbours.resize(1);
  published.publish(std::move(fewer));
  EXPECT_EQ(reader.refresh().neighbours.size(), 1u);
}

}  // namespace
}  // namespace culvert::dpdk
