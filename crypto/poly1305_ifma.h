// Poly1305 (RFC 8439 section 2.5) for AVX-512 IFMA: numbers modulo 2^130 - 5 in three limbs of 44, 44 and 42 bits, in
// eight 64-bit lanes. Two ways to fill the lanes:
// - lanes of messages: eight messages, one per lane, four blocks of each per step with r^4, r^3, r^2 and r. All end
//   in the same step, so a short one begins late, with blocks that count as nothing.
// - lanes of blocks: eight consecutive blocks of one message, sixteen per step with r^16 and r^8; at the end each lane
//   gets its own power r^8 .. r. Also aligned to the end.
// The last block of a message is given apart from its data: the AEAD's length block, which never lies in memory.
// Only the AVX-512 engine includes this.
//
// Bounds: after reduce() limbs are below 2^44 + 2^13 and so; a message adds 2^44; products take 52 bits of factors,
// so factors below 2^46 are safe, and twelve products of at most 2^52 stay far below 2^64.
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
  return {{_mm512_add_epi64(a.at[0], b.at[0]), _mm512_add_epi64(a.at[1], b.at[1]),
           _mm512_add_epi64(a.at[2], b.at[2])}};
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
[[gnu::always_inline]] inline void load_halves(const uint8_t* const* from, size_t offset, __m512i& low,
                                               __m512i& high) {
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

// Secret scratch; its owner wipes it.
struct alignas(64) PolyScratch {
  Factor power[4];  // r, r^2, r^3, r^4 of eight messages
};

// The blocks of one step: four of each of eight messages.
struct StepBlocks {
  Limbs at[4];
};

// chunk[i] are 64 bytes of message i, top[j] the bit on top of block j.
[[gnu::always_inline]] inline StepBlocks split_chunks(const __m512i (&chunk)[8], const __m512i (&top)[4]) {
  // low[p], high[p]: halves of the blocks of messages 2p (lower) and 2p + 1, by block.
  __m512i low[4];
  __m512i high[4];
  for (int pair = 0; pair < 4; ++pair) {
    low[pair] = _mm512_unpacklo_epi64(chunk[2 * pair], chunk[2 * pair + 1]);
    high[pair] = _mm512_unpackhi_epi64(chunk[2 * pair], chunk[2 * pair + 1]);
  }
  // Blocks 0 and 2, or 1 and 3, of four messages each.
  const __m512i even_low0 = _mm512_shuffle_i64x2(low[0], low[1], 0x88);
  const __m512i even_low1 = _mm512_shuffle_i64x2(low[2], low[3], 0x88);
  const __m512i even_high0 = _mm512_shuffle_i64x2(high[0], high[1], 0x88);
  const __m512i even_high1 = _mm512_shuffle_i64x2(high[2], high[3], 0x88);
  const __m512i odd_low0 = _mm512_shuffle_i64x2(low[0], low[1], 0xdd);
  const __m512i odd_low1 = _mm512_shuffle_i64x2(low[2], low[3], 0xdd);
  const __m512i odd_high0 = _mm512_shuffle_i64x2(high[0], high[1], 0xdd);
  const __m512i odd_high1 = _mm512_shuffle_i64x2(high[2], high[3], 0xdd);
  return {{split(_mm512_shuffle_i64x2(even_low0, even_low1, 0x88),
                 _mm512_shuffle_i64x2(even_high0, even_high1, 0x88), top[0]),
           split(_mm512_shuffle_i64x2(odd_low0, odd_low1, 0x88),
                 _mm512_shuffle_i64x2(odd_high0, odd_high1, 0x88), top[1]),
           split(_mm512_shuffle_i64x2(even_low0, even_low1, 0xdd),
                 _mm512_shuffle_i64x2(even_high0, even_high1, 0xdd), top[2]),
           split(_mm512_shuffle_i64x2(odd_low0, odd_low1, 0xdd),
                 _mm512_shuffle_i64x2(odd_high0, odd_high1, 0xdd), top[3])}};
}

// One step: h = (h + block 0) r^4 + block 1 r^3 + block 2 r^2 + block 3 r.
[[gnu::always_inline]] inline void step_messages(Limbs& h, const __m512i (&chunk)[8], const __m512i (&top)[4],
                                                 const Factor (&power)[4]) {
  const StepBlocks blocks = split_chunks(chunk, top);
  Product first = zero_product();
  Product second = zero_product();
  multiply_add(first, blocks.at[3], power[0]);
  multiply_add(second, blocks.at[1], power[2]);
  multiply_add(first, blocks.at[2], power[1]);
  multiply_add(second, add(h, blocks.at[0]), power[3]);
  h = reduce(add(first, second));
}

alignas(64) constexpr uint8_t kZeroChunk[64] = {};

[[gnu::always_inline]] inline Limbs load_r(const uint8_t* const (&key)[8]) {
  __m512i low, high;
  load_halves(key, 0, low, high);
  return clamp_r(low, high);
}

// r, r^2, r^3 and r^4.
[[gnu::always_inline]] inline void make_powers(Factor (&power)[4], const Limbs& r) {
  power[0] = make_factor(r);
  const Limbs r2 = multiply(r, power[0]);
  power[1] = make_factor(r2);
  power[2] = make_factor(multiply(r2, power[0]));
  power[3] = make_factor(multiply(r2, power[1]));
}

[[gnu::always_inline]] inline void store_tags(const Limbs& h, const uint8_t* const (&key)[8], int count,
                                              uint8_t (*tags)[16]) {
  __m512i low, high, tag_low, tag_high;
  load_halves(key, 16, low, high);
  finish(h, low, high, tag_low, tag_high);
  alignas(64) __m128i out[8];
  _mm512_store_si512(out, _mm512_unpacklo_epi64(tag_low, tag_high));
  _mm512_store_si512(out + 4, _mm512_unpackhi_epi64(tag_low, tag_high));
  for (int i = 0; i < count; ++i) __builtin_memcpy(tags[i], out + i / 2 + 4 * (i & 1), 16);
}

// How far ahead of a step its messages are fetched into the cache, in bytes, if they are not there.
inline constexpr uint64_t kMacAheadBytes = 256;

// The tags of up to eight messages of the same length, lanes of messages. `tags[i]` belongs to inputs[i]. `cold`: the
// messages are probably not in the cache.
[[gnu::noinline]] void mac_equal(PolyScratch& scratch, const MacInput* inputs, int count, bool cold,
                                 uint8_t (*tags)[16]) {
  const uint64_t length = inputs[0].length;
  const uint64_t blocks = (length + 15) / 16 + 1;
  const uint64_t steps = (blocks + 3) / 4;
  const uint64_t padding = 4 * steps - blocks;  // blocks of the first step that are nothing
  const uint8_t* key[8];
  const uint8_t*
      at[8];  // where each message's first step would begin; masks see to it that nothing there is read
  for (int i = 0; i < 8; ++i) {
    // Lanes without a message repeat the first.
    const MacInput& input = inputs[i < count ? i : 0];
    key[i] = input.key;
    at[i] = reinterpret_cast<const uint8_t*>(
        reinterpret_cast<uint64_t>(length != 0 ? input.source : kZeroChunk) - 16 * padding);
  }
  Factor(&power)[4] = scratch.power;
  make_powers(power, load_r(key));

  const __m512i bit = block_bit();
  const __m512i zero = _mm512_setzero_si512();
  // In the last step the mask also leaves out what follows the text; the last block takes its place.
  const uint64_t end = length + 16 * padding - 64 * (steps - 1);
  const auto put_last = [&](__m512i(&chunk)[8]) __attribute__((always_inline)) {
    for (int i = 0; i < 8; ++i) {
      const auto* last = reinterpret_cast<const __m128i*>(inputs[i < count ? i : 0].last);
      chunk[i] = _mm512_inserti64x2(chunk[i], _mm_loadu_si128(last), 3);
    }
  };
  __m512i chunk[8];
  __mmask64 mask = ~uint64_t{0} << 16 * padding;
  if (steps == 1) mask &= (uint64_t{1} << end) - 1;
  for (int i = 0; i < 8; ++i) chunk[i] = _mm512_maskz_loadu_epi8(mask, at[i]);
  if (steps == 1) put_last(chunk);
  Limbs h;
  {
    // The first step multiplies only what is there.
    const StepBlocks first = split_chunks(
        chunk, {padding > 0 ? zero : bit, padding > 1 ? zero : bit, padding > 2 ? zero : bit, bit});
    Product product = zero_product();
    multiply_add(product, first.at[3], power[0]);
    if (padding < 3) multiply_add(product, first.at[2], power[1]);
    if (padding < 2) multiply_add(product, first.at[1], power[2]);
    if (padding < 1) multiply_add(product, first.at[0], power[3]);
    h = reduce(product);
  }
  if (steps > 1) {
    const __m512i top[4] = {bit, bit, bit, bit};
    uint64_t offset = 64;
    for (; offset < 64 * (steps - 1); offset += 64) {
      for (int i = 0; i < 8; ++i) chunk[i] = _mm512_loadu_si512(at[i] + offset);
      if (cold) {
        for (int i = 0; i < 8; ++i) __builtin_prefetch(at[i] + offset + kMacAheadBytes, 0, 3);
      }
      step_messages(h, chunk, top, power);
    }
    mask = (uint64_t{1} << end) - 1;
    for (int i = 0; i < 8; ++i) chunk[i] = _mm512_maskz_loadu_epi8(mask, at[i] + offset);
    put_last(chunk);
    step_messages(h, chunk, top, power);
  }
  store_tags(h, key, count, tags);
}

// The tags of up to eight messages of any lengths, lanes of messages. `tags[i]` belongs to inputs[i].
[[gnu::noinline]] void mac_mixed(PolyScratch& scratch, const MacInput* inputs, int count, bool cold,
                                 uint8_t (*tags)[16]) {
  alignas(64) uint64_t length[8];
  const uint8_t* key[8];
  alignas(64) uint64_t address[8];
  for (int i = 0; i < 8; ++i) {
    const MacInput& input = inputs[i < count ? i : 0];
    length[i] = i < count ? input.length : 0;
    key[i] = input.key;
    address[i] = reinterpret_cast<uint64_t>(length[i] != 0 ? input.source : kZeroChunk);
  }
  Factor(&power)[4] = scratch.power;
  make_powers(power, load_r(key));

  // In steps of four blocks, all messages ending together. A message whose blocks are no multiple of four begins with
  // `padding` blocks that are nothing.
  const __m512i lengths = _mm512_load_si512(length);
  const __m512i one = _mm512_set1_epi64(1);
  const __m512i blocks =
      _mm512_add_epi64(_mm512_srli_epi64(_mm512_add_epi64(lengths, _mm512_set1_epi64(15)), 4), one);
  const __m512i own_steps = _mm512_srli_epi64(_mm512_add_epi64(blocks, _mm512_set1_epi64(3)), 2);
  const __m512i padding = _mm512_sub_epi64(_mm512_slli_epi64(own_steps, 2), blocks);
  const uint64_t steps = static_cast<uint64_t>(_mm512_reduce_max_epu64(own_steps));
  const __m512i start = _mm512_sub_epi64(_mm512_set1_epi64(static_cast<long long>(steps)), own_steps);
  const __m512i padding_bytes = _mm512_slli_epi64(padding, 4);
  // Where step 0 of each message would be.
  const __m512i base = _mm512_sub_epi64(_mm512_sub_epi64(_mm512_load_si512(address), padding_bytes),
                                        _mm512_slli_epi64(start, 6));
  const __m512i all = _mm512_set1_epi64(-1);
  const __m512i first_mask = _mm512_sllv_epi64(all, padding_bytes);
  const __m512i last_bytes = _mm512_sub_epi64(_mm512_add_epi64(lengths, padding_bytes),
                                              _mm512_slli_epi64(_mm512_sub_epi64(own_steps, one), 6));
  const __m512i last_mask = _mm512_sub_epi64(_mm512_sllv_epi64(one, last_bytes), one);

  Limbs h = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
  __m512i chunk[8];
  __m512i top[4];
  const __m512i bit = block_bit();
  for (uint64_t step = 0;;) {
    // A step in which a message begins, or all end.
    const __m512i now = _mm512_set1_epi64(static_cast<long long>(step));
    const __mmask8 active = _mm512_cmple_epu64_mask(start, now);
    const __mmask8 begins = _mm512_cmpeq_epi64_mask(start, now);
    const bool is_last = step == steps - 1;
    __m512i mask = _mm512_maskz_mov_epi64(active, all);
    mask = _mm512_mask_and_epi64(mask, begins, mask, first_mask);
    if (is_last) mask = _mm512_and_si512(mask, last_mask);
    alignas(64) uint64_t masks[8];
    alignas(64) uint64_t places[8];
    _mm512_store_si512(masks, mask);
    const __m512i nowhere = _mm512_set1_epi64(reinterpret_cast<long long>(kZeroChunk));
    const __m512i here = _mm512_add_epi64(base, _mm512_slli_epi64(now, 6));
    _mm512_store_si512(places, _mm512_mask_mov_epi64(nowhere, active, here));
    for (int i = 0; i < 8; ++i) {
      chunk[i] = _mm512_maskz_loadu_epi8(masks[i], reinterpret_cast<const void*>(places[i]));
    }
    if (is_last) {
      for (int i = 0; i < 8; ++i) {
        chunk[i] = _mm512_inserti64x2(
            chunk[i], _mm_loadu_si128(reinterpret_cast<const __m128i*>(inputs[i < count ? i : 0].last)), 3);
      }
    }
    for (int block = 0; block < 4; ++block) {
      const __mmask8 nothing = begins & _mm512_cmpgt_epu64_mask(padding, _mm512_set1_epi64(block));
      top[block] = _mm512_maskz_mov_epi64(active & static_cast<__mmask8>(~nothing), bit);
    }
    step_messages(h, chunk, top, power);
    ++step;
    if (is_last) break;

    // Whole chunks up to the next such step.
    const __m512i next = _mm512_set1_epi64(static_cast<long long>(step));
    const __m512i last_step = _mm512_set1_epi64(static_cast<long long>(steps - 1));
    const __m512i events = _mm512_mask_mov_epi64(last_step, _mm512_cmpge_epu64_mask(start, next), start);
    const uint64_t until = static_cast<uint64_t>(_mm512_reduce_min_epu64(events));
    if (step >= until) continue;
    const uint8_t* at[8];
    alignas(64) uint64_t strides[8];
    _mm512_store_si512(
        places, _mm512_mask_mov_epi64(nowhere, active, _mm512_add_epi64(base, _mm512_slli_epi64(next, 6))));
    _mm512_store_si512(strides, _mm512_maskz_set1_epi64(active, 64));
    for (int i = 0; i < 8; ++i) at[i] = reinterpret_cast<const uint8_t*>(places[i]);
    top[0] = top[1] = top[2] = top[3] = _mm512_maskz_mov_epi64(active, bit);
    if (active == 0xff) {
      for (uint64_t offset = 0; step < until; ++step, offset += 64) {
        for (int i = 0; i < 8; ++i) chunk[i] = _mm512_loadu_si512(at[i] + offset);
        if (cold) {
          for (int i = 0; i < 8; ++i) __builtin_prefetch(at[i] + offset + kMacAheadBytes, 0, 3);
        }
        step_messages(h, chunk, top, power);
      }
    } else {
      for (; step < until; ++step) {
        for (int i = 0; i < 8; ++i) {
          chunk[i] = _mm512_loadu_si512(at[i]);
          if (cold) __builtin_prefetch(at[i] + kMacAheadBytes, 0, 3);
          at[i] += strides[i];
        }
        step_messages(h, chunk, top, power);
      }
    }
  }

  store_tags(h, key, count, tags);
}

// The tags of up to eight messages, lanes of messages. `cold`: they are probably not in the cache.
inline void mac_messages(PolyScratch& scratch, const MacInput* inputs, int count, bool cold,
                         uint8_t (*tags)[16]) {
  bool equal = true;
  for (int i = 1; i < count; ++i) equal &= inputs[i].length == inputs[0].length;
  if (equal) {
    mac_equal(scratch, inputs, count, cold, tags);
  } else {
    mac_mixed(scratch, inputs, count, cold, tags);
  }
}

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
[[gnu::noinline]] void mac_blocks(const MacInput& input, uint8_t* tag) {
  const Limbs r = clamp_r(_mm512_set1_epi64(static_cast<long long>(load64(input.key))),
                          _mm512_set1_epi64(static_cast<long long>(load64(input.key + 8))));
  const BlockPowers power = block_powers(r);
  const uint64_t blocks = (input.length + 15) / 16 + 1;
  const uint64_t steps = (blocks + 7) / 8;
  const uint64_t padding = 8 * steps - blocks;
  // Where a whole first step would be. It may lie before the message; masks see to it that nothing there is read.
  const uint64_t base = reinterpret_cast<uint64_t>(input.source) - 16 * padding;
  const auto load = [&](uint64_t step) __attribute__((always_inline)) {
    const auto* at = reinterpret_cast<const uint8_t*>(base + 128 * step);
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
      if (is_last) {
        high = _mm512_inserti64x2(high, _mm_loadu_si128(reinterpret_cast<const __m128i*>(input.last)), 3);
      }
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
