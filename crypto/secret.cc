#include "crypto/secret.h"

#include <sodium.h>

#include <algorithm>

namespace culvert::crypto {

void wipe(std::span<uint8_t> bytes) {
  sodium_memzero(bytes.data(), bytes.size());
}

bool equal_constant_time(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool is_zero_constant_time(std::span<const uint8_t> bytes) {
  return sodium_is_zero(bytes.data(), bytes.size()) == 1;
}

void drop_front(SecretString& text, size_t count) {
  std::copy(text.begin() + static_cast<std::ptrdiff_t>(count), text.end(), text.begin());
  const size_t left = text.size() - count;
  wipe({reinterpret_cast<uint8_t*>(text.data()) + left, count});
  text.resize(left);
}

}  // namespace culvert::crypto
