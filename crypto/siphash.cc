#include "crypto/siphash.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "crypto/random.h"

namespace culvert::crypto {

SipHash::SipHash() {
  fill_random(key_);
}

SipHash::SipHash(std::span<const uint8_t, 16> key) {
  std::copy(key.begin(), key.end(), key_.begin());
}

uint64_t SipHash::operator()(std::span<const uint8_t> bytes) const {
  static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == sizeof(uint64_t));
  uint64_t hash;
  crypto_shorthash(reinterpret_cast<uint8_t*>(&hash), bytes.data(), bytes.size(), key_.data());
  return hash;
}

}  // namespace culvert::crypto
