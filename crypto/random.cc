#include "crypto/random.h"

#include <sodium.h>

namespace culvert::crypto {

void prepare_sodium() {
  // It fails only without a source of randomness, and then libsodium ends the process at the first use of
  // one.
  static const int result = sodium_init();
  (void)result;
}

void fill_random(std::span<uint8_t> bytes) {
  prepare_sodium();
  if (!bytes.empty()) randombytes_buf(bytes.data(), bytes.size());
}

uint32_t random_uint32() {
  prepare_sodium();
  return randombytes_random();
}

uint32_t random_below(uint32_t bound) {
  prepare_sodium();
  return randombytes_uniform(bound);
}

}  // namespace culvert::crypto
