#include "bench/scale_sim/toeplitz.h"

#include <cassert>

namespace culvert::scale_sim {

uint32_t toeplitz(std::span<const uint8_t> key, std::span<const uint8_t> input) {
  assert(key.size() >= input.size() + 4);
  uint32_t hash = 0;
  uint32_t window = uint32_t{key[0]} << 24 | uint32_t{key[1]} << 16 | uint32_t{key[2]} << 8 | key[3];
  for (size_t i = 0; i < input.size(); ++i)
    for (int bit = 7; bit >= 0; --bit) {
      if ((input[i] >> bit & 1) != 0) hash ^= window;
      window = window << 1 | (key[i + 4] >> bit & 1U);
    }
  return hash;
}

}  // namespace culvert::scale_sim
