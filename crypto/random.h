// Random bytes from the operating system, through libsodium.
//
// Thread safety: every function may be called from any thread at any time.
#pragma once

#include <cstdint>
#include <span>

namespace culvert::crypto {

// Lets libsodium choose its implementations for this CPU, once. Everything in crypto/ that gains from it
// calls it first, so nobody else has to.
void prepare_sodium();

// Fills the range with bytes fit for keys.
void fill_random(std::span<uint8_t> bytes);

// A uniformly distributed value: any 32-bit value, or one below `bound` (0 when bound is 0 or 1).
uint32_t random_uint32();
uint32_t random_below(uint32_t bound);

}  // namespace culvert::crypto
