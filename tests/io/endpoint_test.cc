#include "io/endpoint.h"

#include <gtest/gtest.h>
#include <net/if.h>

namespace culvert::io {
namespace {

struct ParseCase {
  const char* name;
  const char* text;
  const char* printed;  // nullptr: refused
};

const ParseCase kParseCases[] = {
    {"a v4 endpoint", "192.0.2.1:51820", "192.0.2.1:51820"},
    {"the lowest and highest v4 values", "0.0.0.0:0", "0.0.0.0:0"},
    {"the highest v4 values", "255.255.255.255:65535", "255.255.255.255:65535"},
    {"a v6 endpoint", "[2001:db8::1]:51820", "[2001:db8::1]:51820"},
    {"a v6 endpoint that is not in short form", "[2001:0DB8:0:0:0:0:0:1]:1", "[2001:db8::1]:1"},
    {"a link-local endpoint with its interface by number", "[fe80::1%3]:51820", "[fe80::1%3]:51820"},
    {"a v4-mapped v6 endpoint is v4", "[::ffff:192.0.2.1]:7", "192.0.2.1:7"},
    {"a port with leading zeros", "192.0.2.1:00007", "192.0.2.1:7"},
    {"nothing", "", nullptr},
    {"no port", "192.0.2.1", nullptr},
    {"an empty port", "192.0.2.1:", nullptr},
    {"a port above 65535", "192.0.2.1:65536", nullptr},
    {"a port beyond any integer", "192.0.2.1:99999999999999999999", nullptr},
    {"a negative port", "192.0.2.1:-1", nullptr},
    {"a port with a plus", "192.0.2.1:+1", nullptr},
    {"a port with a blank before", "192.0.2.1: 1", nullptr},
    {"a port with a blank behind", "192.0.2.1:1 ", nullptr},
    {"a port that is no number", "192.0.2.1:http", nullptr},
    {"no address", ":51820", nullptr},
    {"a host name", "example.org:51820", nullptr},
    {"a v4 address with three bytes", "192.0.2:51820", nullptr},
    {"a v4 address with a byte too large", "192.0.2.256:51820", nullptr},
    {"a v4 address in brackets", "[192.0.2.1]:51820", nullptr},
    {"a v6 address without brackets", "2001:db8::1:51820", nullptr},
    {"a v6 address without the closing bracket", "[2001:db8::1:51820", nullptr},
    {"a v6 address without the opening bracket", "2001:db8::1]:51820", nullptr},
    {"a v6 address without a port", "[2001:db8::1]", nullptr},
    {"empty brackets", "[]:51820", nullptr},
    {"a single bracket", "]:1", nullptr},
    {"an opening bracket alone", "[:1", nullptr},
    {"an empty scope", "[fe80::1%]:51820", nullptr},
    {"scope zero", "[fe80::1%0]:51820", nullptr},
    {"a scope that is no interface", "[fe80::1%no-such-interface]:51820", nullptr},
    {"a scope on a v4-mapped address", "[::ffff:192.0.2.1%1]:7", nullptr},
    {"a v4 address with a scope", "192.0.2.1%1:51820", nullptr},
};

TEST(EndpointTest, ParsesAndPrints) {
  for (const ParseCase& c : kParseCases) {
    SCOPED_TRACE(c.name);
    Endpoint endpoint;
    endpoint.port = 4711;
    const Endpoint untouched = endpoint;
    EXPECT_EQ(parse_endpoint(c.text, endpoint), c.printed != nullptr);
    if (c.printed == nullptr) {
      EXPECT_EQ(endpoint, untouched);
      continue;
    }
    EXPECT_EQ(to_string(endpoint), c.printed);
    Endpoint again;
    EXPECT_TRUE(parse_endpoint(to_string(endpoint), again));
    EXPECT_EQ(again, endpoint);
  }
}

TEST(EndpointTest, RefusesTextWithZeroBytes) {
  Endpoint endpoint;
  EXPECT_FALSE(parse_endpoint(std::string("192.0.2.1\0:1", 12), endpoint));
  EXPECT_FALSE(parse_endpoint(std::string("[::1\0]:1", 8), endpoint));
}

TEST(EndpointTest, TakesAnInterfaceName) {
  Endpoint endpoint;
  ASSERT_TRUE(parse_endpoint("[fe80::1%lo]:1", endpoint));
  EXPECT_EQ(endpoint.scope_id, if_nametoindex("lo"));
}

TEST(EndpointTest, FillsInBytesInNetworkOrder) {
  Endpoint endpoint;
  ASSERT_TRUE(parse_endpoint("192.0.2.1:258", endpoint));
  const std::array<uint8_t, 16> expected{192, 0, 2, 1};
  EXPECT_EQ(endpoint.remote.bytes, expected);
  EXPECT_EQ(endpoint.remote.family, Family::v4);
  EXPECT_EQ(endpoint.port, 258);
  EXPECT_EQ(endpoint.source, Address{});
}

TEST(EndpointTest, PrintsAnInvalidEndpointAsNothing) {
  EXPECT_EQ(to_string(Endpoint{}), "");
}

TEST(EndpointTest, TheSourceIsNoPartOfTheRemote) {
  Endpoint a, b;
  ASSERT_TRUE(parse_endpoint("192.0.2.1:1", a));
  b = a;
  b.source = a.remote;
  EXPECT_TRUE(a.same_remote(b));
  EXPECT_NE(a, b);
  b.port = 2;
  EXPECT_FALSE(a.same_remote(b));
}

}  // namespace
}  // namespace culvert::io
