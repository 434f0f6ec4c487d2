#include "bench/aead_contender.h"

#include <random>

namespace culvert::bench {

const Keys& keys() {
  static const Keys made = [] {
    Keys keys;
    std::mt19937 random(1);
    for (Key& key : keys)
      for (uint8_t& byte : key) byte = static_cast<uint8_t>(random());
    return keys;
  }();
  return made;
}

Nonce nonce_of(uint64_t counter) {
  Nonce nonce{};
  for (size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<uint8_t>(counter >> (8 * i));
  return nonce;
}

}  // namespace culvert::bench
