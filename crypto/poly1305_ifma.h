// Poly1305 (RFC 8439 section 2.5) for AVX-512 IFMA: numbers modulo 2^130 - 5 in three limbs of 44, 44 and 42 bits, in
// eight 64-bit lanes. Two ways to fill the lanes are in poly1305_ifma_messages.h and poly1305_ifma_blocks.h. Only the
// AVX-512 engine includes this.
//
// Bounds: reduce() leaves limbs below 2^44 + 2^17, 2^44 + 2^13 and 2^42 + 2^13; adding a block leaves the first two
// below 2^46 and the third below 2^43, times 20 below 2^49: all within the 52 bits that a multiplication looks at. A
// place sums up to twelve products' lower 52 bits, less than 2^56, and with the shifted upper ones it stays below 2^57.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "crypto/poly1305_scalar.h"

namespace culvert::crypto {
namespace {

inline __m512i low_44_bits() {
  return _mm512_set1_epi64((1LL << 44) - 1);
}
inline __m512i low_42_bits() {
  return _mm512_set1_epi64((1LL << 42) - 1);
}
// 2^128 in the third limb: what every block of 16 bytes has on top.
inline __m512i block_bit() {
  return _mm512_set1_epi64(1LL << 40);
}

struct Limbs {
  __m512i at[3];
};

// A factor and what is needed to multiply by it: 20 times its upper limbs, because 2^132 = 4 * 2^130 = 4 * 5.
struct Factor {
  __m512i at[3];
  __m512i times20[3];  // [0] unused
};

// A product before it is reduced: sums of the lower and upper 52 bits of limb products, by place.
struct Product {
  __m512i low[3];
  __m512i high[3];
};

[[gnu::always_inline]] inline Limbs add(const Limbs& a, const Limbs& b) {
  return {{_mm512_add_epi64(a.at[0], b.at[0]), _mm512_add_epi64(a.at[1], b.at[1]), _mm512_add_epi64(a.at[2], b.at[2])}};
}

[[gnu::always_inline]] inline Limbs select(__mmask8 mask, const Limbs& yes, const Limbs& no) {
  return {{_mm512_mask_mov_epi64(no.at[0], mask, yes.at[0]), _mm512_mask_mov_epi64(no.at[1], mask, yes.at[1]),
           _mm512_mask_mov_epi64(no.at[2], mask, yes.at[2])}};
}

[[gnu::always_inline]] inline Factor make_factor(const Limbs& a) {
  const __m512i twenty = _mm512_set1_epi64(20);
  const __m512i zero = _mm512_setzero_si512();
  return {{a.at[0], a.at[1], a.at[2]},
          {zero, _mm512_madd52lo_epu64(zero, a.at[1], twenty), _mm512_madd52lo_epu64(zero, a.at[2], twenty)}};
}

[[gnu::always_inline]] inline Product zero_product() {
  const __m512i zero = _mm512_setzero_si512();
  return {{zero, zero, zero}, {zero, zero, zero}};
}

// sum += a * factor.
[[gnu::always_inline]] inline void multiply_add(Product& sum, const Limbs& a, const Factor& factor) {
  for (int i = 0; i < 3; ++i) {
    for (int place = 0; place < 3; ++place) {
      const int j = place - i;
      const __m512i other = j >= 0 ? factor.at[j] : factor.times20[j + 3];
      sum.low[place] = _mm512_madd52lo_epu64(sum.low[place], a.at[i], other);
      sum.high[place] = _mm512_madd52hi_epu64(sum.high[place], a.at[i], other);
    }
  }
}

[[gnu::always_inline]] inline Product add(const Product& a, const Product& b) {
  Product sum;
  for (int i = 0; i < 3; ++i) {
    sum.low[i] = _mm512_add_epi64(a.low[i], b.low[i]);
    sum.high[i] = _mm512_add_epi64(a.high[i], b.high[i]);
  }
  return sum;
}

// One round of carries, which leaves limbs small enough for the next multiplication. A high half counts 2^52, which is
// 2^8 of the next limb, and for the last one 2^(88 + 52) = 2^140 = 5 * 2^10.
[[gnu::always_inline]] inline Limbs reduce(const Product& product) {
  const __m512i wrapped =
      _mm512_add_epi64(_mm512_slli_epi64(product.high[2], 10), _mm512_slli_epi64(product.high[2], 12));
  const __m512i t0 = _mm512_add_epi64(product.low[0], wrapped);
  const __m512i t1 = _mm512_add_epi64(product.low[1], _mm512_slli_epi64(product.high[0], 8));
  const __m512i t2 = _mm512_add_epi64(product.low[2], _mm512_slli_epi64(product.high[1], 8));
  const __m512i carry = _mm512_srli_epi64(t2, 42);
  const __m512i carry5 = _mm512_add_epi64(carry, _mm512_slli_epi64(carry, 2));
  return {{_mm512_add_epi64(_mm512_and_si512(t0, low_44_bits()), carry5),
           _mm512_add_epi64(_mm512_and_si512(t1, low_44_bits()), _mm512_srli_epi64(t0, 44)),
           _mm512_add_epi64(_mm512_and_si512(t2, low_42_bits()), _mm512_srli_epi64(t1, 44))}};
}

[[gnu::always_inline]] inline Limbs multiply(const Limbs& a, const Factor& factor) {
  Product product = zero_product();
  multiply_add(product, a, factor);
  return reduce(product);
}

// 16-byte blocks, split into low and high halves, as limbs; `top` is block_bit() or zero.
[[gnu::always_inline]] inline Limbs split(__m512i low, __m512i high, __m512i top) {
  const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));
  return {{_mm512_and_si512(low, low_44_bits()), _mm512_and_si512(middle, low_44_bits()),
           _mm512_or_si512(_mm512_srli_epi64(high, 24), top)}};
}

[[gnu::always_inline]] inline Limbs clamp_r(__m512i low, __m512i high) {
  return split(_mm512_and_si512(low, _mm512_set1_epi64(0x0ffffffc0fffffff)),
               _mm512_and_si512(high, _mm512_set1_epi64(0x0ffffffc0ffffffc)), _mm512_setzero_si512());
}

// The tags: h modulo 2^130 - 5, plus s modulo 2^128.
[[gnu::always_inline]] inline void finish(const Limbs& h, __m512i s_low, __m512i s_high, __m512i& tag_low,
                                          __m512i& tag_high) {
  __m512i h0 = h.at[0];
  __m512i h1 = h.at[1];
  __m512i h2 = h.at[2];
  const auto carry_up = [](__m512i & from, __m512i & to) __attribute__((always_inline)) {
    to = _mm512_add_epi64(to, _mm512_srli_epi64(from, 44));
    from = _mm512_and_si512(from, low_44_bits());
  };
  // Twice around: after the first, h0 may be one carry too high; after the second, h is below 2^130.
  for (int round = 0; round < 2; ++round) {
    carry_up(h0, h1);
    carry_up(h1, h2);
    const __m512i carry = _mm512_srli_epi64(h2, 42);
    h2 = _mm512_and_si512(h2, low_42_bits());
    h0 = _mm512_add_epi64(h0, _mm512_add_epi64(carry, _mm512_slli_epi64(carry, 2)));
  }
  carry_up(h0, h1);
  carry_up(h1, h2);
  // h + 5 reaches 2^130 exactly if h is 2^130 - 5 or more; then h + 5 - 2^130 is the rest.
  __m512i g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
  __m512i g1 = h1;
  __m512i g2 = h2;
  carry_up(g0, g1);
  carry_up(g1, g2);
  const __mmask8 wraps = _mm512_cmpge_epu64_mask(g2, _mm512_set1_epi64(1LL << 42));
  h0 = _mm512_mask_mov_epi64(h0, wraps, g0);
  h1 = _mm512_mask_mov_epi64(h1, wraps, g1);
  h2 = _mm512_mask_mov_epi64(h2, wraps, g2);
  const __m512i low = _mm512_or_si512(h0, _mm512_slli_epi64(h1, 44));
  const __m512i high = _mm512_or_si512(_mm512_srli_epi64(h1, 20), _mm512_slli_epi64(h2, 24));
  tag_low = _mm512_add_epi64(low, s_low);
  const __mmask8 carry = _mm512_cmplt_epu64_mask(tag_low, low);
  tag_high = _mm512_add_epi64(high, s_high);
  tag_high = _mm512_mask_add_epi64(tag_high, carry, tag_high, _mm512_set1_epi64(1));
}

// Low and high halves of 16 bytes from each of eight places.
[[gnu::always_inline]] inline void load_halves(const uint8_t* const* from, size_t offset, __m512i& low, __m512i& high) {
  const auto block = [&](int i) __attribute__((always_inline)) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[i] + offset));
  };
  __m512i even = _mm512_castsi128_si512(block(0));
  even = _mm512_inserti64x2(even, block(2), 1);
  even = _mm512_inserti64x2(even, block(4), 2);
  even = _mm512_inserti64x2(even, block(6), 3);
  __m512i odd = _mm512_castsi128_si512(block(1));
  odd = _mm512_inserti64x2(odd, block(3), 1);
  odd = _mm512_inserti64x2(odd, block(5), 2);
  odd = _mm512_inserti64x2(odd, block(7), 3);
  low = _mm512_unpacklo_epi64(even, odd);
  high = _mm512_unpackhi_epi64(even, odd);
}

}  // namespace
}  // namespace culvert::crypto
