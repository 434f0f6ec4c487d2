// Poly1305 for AVX-512 IFMA, lanes of blocks: eight consecutive blocks of one message, sixteen per step with r^16 and
// r^8; at the end each lane gets its own power r^8 .. r. Aligned to the end of the message. Only the AVX-512 engine
// includes this.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "crypto/address.h"
#include "crypto/poly1305_ifma.h"
#include "crypto/poly1305_scalar.h"

namespace culvert::crypto {
namespace {

// Bytes `from` to `end` of 128 (both 0..128) as a mask for each half.
struct ByteRange {
  __mmask64 low;
  __mmask64 high;
};

[[gnu::always_inline]] inline ByteRange byte_range(uint64_t from, uint64_t end) {
  const auto below = [](uint64_t bytes) __attribute__((always_inline)) {
    return _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(bytes < 64 ? bytes : 64));
  };
  const auto beyond = [&](uint64_t bytes) __attribute__((always_inline)) {
    return below(bytes < 64 ? 0 : bytes - 64);
  };
  return {below(end) & ~below(from), beyond(end) & ~beyond(from)};
}

// The powers that lanes of blocks need.
struct BlockPowers {
  Factor r8;       // r^8 in every lane
  Factor by_lane;  // the power that each lane's last block gets
};

// unpacklo and unpackhi of blocks 0..3 and 4..7 put them into the lanes in this order.
[[gnu::always_inline]] inline __m512i block_of_lane() {
  return _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
}

[[gnu::always_inline]] inline Limbs broadcast_lane0(const Limbs& a) {
  const __m512i zero = _mm512_setzero_si512();
  return {{_mm512_permutexvar_epi64(zero, a.at[0]), _mm512_permutexvar_epi64(zero, a.at[1]),
           _mm512_permutexvar_epi64(zero, a.at[2])}};
}

// r^8 r^4 r^7 r^3 r^6 r^2 r^5 r by lane, from three multiplications in a row.
[[gnu::always_inline]] inline BlockPowers block_powers(const Limbs& r) {
  const Limbs r2 = multiply(r, make_factor(r));
  const Limbs upto2 = select(0x33, r2, r);  // 2 2 1 1 2 2 1 1
  const Limbs times2 = multiply(upto2, make_factor(r2));
  const Limbs upto4 = select(0x0f, times2, upto2);  // 4 4 3 3 2 2 1 1
  const Limbs upto8 = multiply(upto4, make_factor(broadcast_lane0(upto4)));
  return {make_factor(broadcast_lane0(upto8)), make_factor(select(0x55, upto8, upto4))};
}

// The tag from limbs below 2^50.
inline void finish_one(uint64_t h0, uint64_t h1, uint64_t h2, const uint8_t* key, uint8_t* tag) {
  constexpr uint64_t kLow44 = (uint64_t{1} << 44) - 1;
  constexpr uint64_t kLow42 = (uint64_t{1} << 42) - 1;
  for (int round = 0; round < 2; ++round) {
    h1 += h0 >> 44;
    h0 &= kLow44;
    h2 += h1 >> 44;
    h1 &= kLow44;
    h0 += 5 * (h2 >> 42);
    h2 &= kLow42;
  }
  h1 += h0 >> 44;
  h0 &= kLow44;
  h2 += h1 >> 44;
  h1 &= kLow44;
  poly_tag(h0 | h1 << 44, h1 >> 20 | h2 << 24, h2 >> 40, key, tag);
}

// The tag of one message, lanes of blocks.
[[gnu::noinline]] inline void mac_blocks(const MacInput& input, uint8_t* tag) {
  const Limbs r = clamp_r(_mm512_set1_epi64(static_cast<long long>(load64(input.key))),
                          _mm512_set1_epi64(static_cast<long long>(load64(input.key + 8))));
  const BlockPowers power = block_powers(r);
  const uint64_t blocks = (input.length + 15) / 16 + 1;
  const uint64_t steps = (blocks + 7) / 8;
  const uint64_t padding = 8 * steps - blocks;
  // Where a whole first step would be. It may lie before the message; masks see to it that nothing there is read.
  const uint64_t base = reinterpret_cast<uint64_t>(input.source) - 16 * padding;
  const auto load = [&](uint64_t step) __attribute__((always_inline)) {
    const auto* at = at_address<const uint8_t>(base + 128 * step);
    __m512i top = block_bit();
    __m512i low, high;
    if (step != 0 && step != steps - 1) [[likely]] {
      low = _mm512_loadu_si512(at);
      high = _mm512_loadu_si512(at + 64);
    } else {
      const bool is_last = step == steps - 1;
      const ByteRange range =
          byte_range(step == 0 ? 16 * padding : 0, is_last ? input.length + 16 * padding - 128 * step : 128);
      low = _mm512_maskz_loadu_epi8(range.low, at);
      high = _mm512_maskz_loadu_epi8(range.high, at + 64);
      if (is_last) high = _mm512_inserti64x2(high, _mm_loadu_si128(reinterpret_cast<const __m128i*>(input.last)), 3);
      if (step == 0) {
        const __m512i first = _mm512_set1_epi64(static_cast<long long>(padding));
        top = _mm512_maskz_mov_epi64(_mm512_cmpge_epu64_mask(block_of_lane(), first), top);
      }
    }
    return split(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high), top);
  };

  Limbs h = load(0);
  uint64_t step = 1;
  // Two steps at a time make half as many reductions that wait for each other.
  if (steps >= 5) {
    const Factor r16 = make_factor(multiply({{power.r8.at[0], power.r8.at[1], power.r8.at[2]}}, power.r8));
    for (; step + 1 < steps; step += 2) {
      Product product = zero_product();
      multiply_add(product, load(step), power.r8);
      Product product_h = zero_product();
      multiply_add(product_h, h, r16);
      h = add(reduce(add(product, product_h)), load(step + 1));
    }
  }
  for (; step < steps; ++step) h = add(multiply(h, power.r8), load(step));
  h = multiply(h, power.by_lane);
  finish_one(static_cast<uint64_t>(_mm512_reduce_add_epi64(h.at[0])),
             static_cast<uint64_t>(_mm512_reduce_add_epi64(h.at[1])),
             static_cast<uint64_t>(_mm512_reduce_add_epi64(h.at[2])), input.key, tag);
}

}  // namespace
}  // namespace culvert::crypto
