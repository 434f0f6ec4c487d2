// SipHash-2-4 with a random key, through libsodium: for hash tables whose keys a stranger chooses, so that
// collisions cannot be made on purpose.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace culvert::crypto {

// Thread safety: hashing may be done from any thread at any time. Does not allocate.
class SipHash {
 public:
  SipHash();  // draws a key of its own
  explicit SipHash(std::span<const uint8_t, 16> key);

  [[nodiscard]] uint64_t operator()(std::span<const uint8_t> bytes) const;

 private:
  std::array<uint8_t, 16> key_;
};

}  // namespace culvert::crypto
