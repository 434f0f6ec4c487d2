#include "src/protocol/rate_limiter.h"

#include <algorithm>

namespace culvert::protocol {
namespace {

constexpr size_t kIpv4Bytes = 4;
constexpr size_t kIpv6Bytes = 16;
constexpr size_t kIpv6PrefixBytes = 8;

constexpr Duration kCost = Duration(std::chrono::seconds(1)) / kHandshakesPerSecondOfSource;
constexpr Duration kFullBucket = kCost * kHandshakeBurstOfSource;
static_assert(kFullBucket <= kSourceMemory, "a forgotten source would get tokens that it had not earned yet");

}  // namespace

bool RateLimiter::allow(std::span<const uint8_t> address, Instant now) {
  if (address.size() != kIpv4Bytes && address.size() != kIpv6Bytes) return false;
  Source source{static_cast<uint8_t>(address.size())};
  const auto prefix = address.first(std::min(address.size(), kIpv6PrefixBytes));
  std::copy(prefix.begin(), prefix.end(), source.begin() + 1);
  forget_idle(now);

  const auto known = by_source_.find(source);
  if (known == by_source_.end()) {
    if (buckets_.size() >= max_sources_) return false;
    buckets_.push_front({source, kFullBucket - kCost, now});
    by_source_.emplace(source, buckets_.begin());
    return true;
  }
  Bucket& bucket = *known->second;
  bucket.tokens = std::min(kFullBucket, bucket.tokens + (now - bucket.last_seen));
  bucket.last_seen = now;
  buckets_.splice(buckets_.begin(), buckets_, known->second);
  if (bucket.tokens < kCost) return false;
  bucket.tokens -= kCost;
  return true;
}

void RateLimiter::forget_idle(Instant now) {
  while (!buckets_.empty() && now - buckets_.back().last_seen > kSourceMemory) {
    by_source_.erase(buckets_.back().source);
    buckets_.pop_back();
  }
}

}  // namespace culvert::protocol
