// Limits how many handshakes one source may make us compute while under load (WireGuard paper section 5.3;
// kernel: ratelimiter.c).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>

#include "crypto/siphash.h"
#include "src/protocol/time.h"

namespace culvert::protocol {

inline constexpr unsigned kHandshakesPerSecondOfSource = 20;
inline constexpr unsigned kHandshakeBurstOfSource = 5;
// How long a source is remembered; its bucket is full again long before.
inline constexpr Duration kSourceMemory = std::chrono::seconds(1);
inline constexpr size_t kMaxRememberedSources = 65536;

// One token bucket per source: an IPv4 address, or the /64 of an IPv6 address.
//
// Thread safety: none; the control thread owns it.
// Invariants: at most `max_sources` buckets exist; when all are taken, new sources are refused and known ones
// are served as before. `now` never goes back.
class RateLimiter {
 public:
  explicit RateLimiter(size_t max_sources = kMaxRememberedSources) : max_sources_(max_sources) {}

  // Takes a token of the source with this address, 4 or 16 bytes in network byte order. False when it has
  // none left, when the table is full, or when `address` has another length.
  [[nodiscard]] bool allow(std::span<const uint8_t> address, Instant now);

  // Forgets the sources not seen for kSourceMemory. allow() does so too; this is for when it is called no
  // more.
  void forget_idle(Instant now);

  size_t remembered_sources() const { return buckets_.size(); }

 private:
  // Family, then the address or prefix, then zeros.
  using Source = std::array<uint8_t, 9>;
  struct SourceHash {
    crypto::SipHash hash;
    size_t operator()(const Source& source) const { return hash(source); }
  };
  struct Bucket {
    Source source;
    Duration tokens;  // in time: each handshake costs 1/20 s
    Instant last_seen;
  };

  size_t max_sources_;
  std::list<Bucket> buckets_;  // the one seen last is first
  std::unordered_map<Source, std::list<Bucket>::iterator, SourceHash> by_source_;
};

}  // namespace culvert::protocol
