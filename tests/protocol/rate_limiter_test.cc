#include "src/protocol/rate_limiter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace culvert::protocol {
namespace {

using namespace std::chrono_literals;
using Address = std::vector<uint8_t>;

constexpr Instant kStart{1000s};

Address ipv4(uint32_t number) {
  return {static_cast<uint8_t>(number >> 24), static_cast<uint8_t>(number >> 16), static_cast<uint8_t>(number >> 8),
          static_cast<uint8_t>(number)};
}

Address ipv6(uint8_t prefix_end, uint8_t host_end) {
  Address address(16);
  address[0] = 0x20;
  address[7] = prefix_end;
  address[15] = host_end;
  return address;
}

int allowed_of(RateLimiter& limiter, const Address& address, Instant now, int attempts) {
  int allowed = 0;
  for (int i = 0; i < attempts; ++i) allowed += limiter.allow(address, now);
  return allowed;
}

TEST(RateLimiter, AllowsABurstOfFiveAndThenTwentyASecond) {
  RateLimiter limiter;
  EXPECT_EQ(allowed_of(limiter, ipv4(1), kStart, 10), 5);
  EXPECT_EQ(allowed_of(limiter, ipv4(1), kStart + 49ms, 10), 0);
  EXPECT_EQ(allowed_of(limiter, ipv4(1), kStart + 50ms, 10), 1);
  EXPECT_EQ(allowed_of(limiter, ipv4(1), kStart + 150ms, 10), 2);
  EXPECT_EQ(allowed_of(limiter, ipv4(1), kStart + 10s, 10), 5) << "the bucket holds no more than the burst";
}

TEST(RateLimiter, RefusesNoMoreBecauseOfEarlierRefusals) {
  RateLimiter limiter;
  int allowed = 0;
  for (auto now = kStart; now < kStart + 10s; now += 1ms) allowed += limiter.allow(ipv4(1), now);
  EXPECT_EQ(allowed, 5 + 10 * 20 - 1);
}

TEST(RateLimiter, CountsIpv4ByAddressAndIpv6ByPrefixOf64Bits) {
  RateLimiter limiter;
  EXPECT_EQ(allowed_of(limiter, ipv4(1), kStart, 6), 5);
  EXPECT_EQ(allowed_of(limiter, ipv4(2), kStart, 6), 5);
  EXPECT_EQ(allowed_of(limiter, ipv6(1, 1), kStart, 3), 3);
  EXPECT_EQ(allowed_of(limiter, ipv6(1, 2), kStart, 3), 2) << "a neighbour on the same /64";
  EXPECT_EQ(allowed_of(limiter, ipv6(2, 1), kStart, 6), 5);
}

TEST(RateLimiter, KeepsApartFamiliesWhoseBytesAreTheSame) {
  RateLimiter limiter;
  Address prefix_looks_like_ipv4(16);
  std::copy_n(ipv4(0x0a000001).begin(), 4, prefix_looks_like_ipv4.begin());
  EXPECT_EQ(allowed_of(limiter, ipv4(0x0a000001), kStart, 6), 5);
  EXPECT_EQ(allowed_of(limiter, prefix_looks_like_ipv4, kStart, 6), 5);
}

TEST(RateLimiter, RefusesWhatIsNotAnAddress) {
  RateLimiter limiter;
  for (const size_t length : {0, 3, 5, 8, 15, 17}) EXPECT_FALSE(limiter.allow(Address(length), kStart)) << length;
  EXPECT_EQ(limiter.remembered_sources(), 0U);
}

TEST(RateLimiter, RefusesNewSourcesWhenFullAndServesTheKnownOnes) {
  RateLimiter limiter(3);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_TRUE(limiter.allow(ipv4(i), kStart));
  EXPECT_FALSE(limiter.allow(ipv4(3), kStart));
  EXPECT_TRUE(limiter.allow(ipv4(0), kStart));
  EXPECT_EQ(limiter.remembered_sources(), 3U);
  // The source that was seen again stays, the others make room.
  EXPECT_TRUE(limiter.allow(ipv4(0), kStart + 900ms));
  EXPECT_TRUE(limiter.allow(ipv4(3), kStart + 1001ms));
  EXPECT_EQ(limiter.remembered_sources(), 2U);
}

TEST(RateLimiter, ForgetsIdleSourcesWhenAsked) {
  RateLimiter limiter;
  EXPECT_TRUE(limiter.allow(ipv4(1), kStart));
  limiter.forget_idle(kStart + kSourceMemory);
  EXPECT_EQ(limiter.remembered_sources(), 1U);
  limiter.forget_idle(kStart + kSourceMemory + 1ns);
  EXPECT_EQ(limiter.remembered_sources(), 0U);
}

// A bucket per source that is never forgotten, in exact arithmetic.
class Model {
 public:
  bool allow(const Address& address, Instant now) {
    const std::string source(address.begin(), address.end() - (address.size() == 16 ? 8 : 0));
    const auto [bucket, is_new] = buckets_.try_emplace(source, 250ms, now);
    auto& [tokens, last_seen] = bucket->second;
    tokens = std::min<Duration>(250ms, tokens + (now - last_seen));
    last_seen = now;
    if (tokens < 50ms) return false;
    tokens -= 50ms;
    return true;
  }

 private:
  std::map<std::string, std::pair<Duration, Instant>> buckets_;
};

TEST(RateLimiter, AgreesWithAModelThatNeverForgets) {
  std::mt19937 random(20);
  RateLimiter limiter;
  Model model;
  Instant now = kStart;
  size_t allowed = 0;
  for (int i = 0; i < 100000; ++i) {
    // Mostly floods, with pauses around the time after which a source is forgotten.
    now += random() % 100 == 0 ? Duration(random() % 2'000'000'000) : Duration(random() % 5'000'000);
    const auto number = static_cast<uint8_t>(random() % 8);
    const Address address = random() % 2 == 0 ? ipv4(number) : ipv6(number, static_cast<uint8_t>(random()));
    const bool expected = model.allow(address, now);
    ASSERT_EQ(limiter.allow(address, now), expected) << i;
    allowed += expected;
  }
  EXPECT_GT(allowed, 1000U);
  EXPECT_LT(allowed, 99000U);
}

}  // namespace
}  // namespace culvert::protocol
