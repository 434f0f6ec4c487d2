// Poly1305 for AVX-512 IFMA, lanes of messages: eight messages, one per lane, four blocks of each per step with r^4,
// r^3, r^2 and r. Every message ends in the last step, with the block that is given apart. Only the AVX-512 engine
// includes this.
//
// In all functions tags[i] belongs to inputs[i], and `cold` says that the messages are probably not in the cache.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "crypto/address.h"
#include "crypto/poly1305_ifma.h"
#include "crypto/poly1305_scalar.h"

namespace culvert::crypto {
namespace {

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
  return {
      {split(_mm512_shuffle_i64x2(even_low0, even_low1, 0x88), _mm512_shuffle_i64x2(even_high0, even_high1, 0x88),
             top[0]),
       split(_mm512_shuffle_i64x2(odd_low0, odd_low1, 0x88), _mm512_shuffle_i64x2(odd_high0, odd_high1, 0x88), top[1]),
       split(_mm512_shuffle_i64x2(even_low0, even_low1, 0xdd), _mm512_shuffle_i64x2(even_high0, even_high1, 0xdd),
             top[2]),
       split(_mm512_shuffle_i64x2(odd_low0, odd_low1, 0xdd), _mm512_shuffle_i64x2(odd_high0, odd_high1, 0xdd),
             top[3])}};
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

alignas(64) inline constexpr uint8_t kZeroChunk[64] = {};

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

// The last blocks, at the end of the last chunks. Lanes without a message repeat the first.
[[gnu::always_inline]] inline void put_last(const MacInput* inputs, int count, __m512i (&chunk)[8]) {
  for (int i = 0; i < 8; ++i) {
    const auto* last = reinterpret_cast<const __m128i*>(inputs[i < count ? i : 0].last);
    chunk[i] = _mm512_inserti64x2(chunk[i], _mm_loadu_si128(last), 3);
  }
}

// How far ahead of a step its messages are fetched into the cache, in bytes, if they are not there.
inline constexpr uint64_t kMacAheadBytes = 256;

// The tags of up to eight messages of the same length.
[[gnu::noinline]] inline void mac_equal(PolyScratch& scratch, const MacInput* inputs, int count, bool cold,
                                        uint8_t (*tags)[16]) {
  const uint64_t length = inputs[0].length;
  const uint64_t blocks = (length + 15) / 16 + 1;
  const uint64_t steps = (blocks + 3) / 4;
  const uint64_t padding = 4 * steps - blocks;  // blocks of the first step that are nothing
  const uint8_t* key[8];
  const uint8_t* at[8];  // where each message's first step would begin; masks see to it that nothing there is read
  for (int i = 0; i < 8; ++i) {
    // Lanes without a message repeat the first.
    const MacInput& input = inputs[i < count ? i : 0];
    key[i] = input.key;
    at[i] =
        at_address<const uint8_t>(reinterpret_cast<uint64_t>(length != 0 ? input.source : kZeroChunk) - 16 * padding);
  }
  Factor(&power)[4] = scratch.power;
  make_powers(power, load_r(key));

  const __m512i bit = block_bit();
  const __m512i zero = _mm512_setzero_si512();
  // In the last step the mask also leaves out what follows the text; the last block takes its place.
  const uint64_t end = length + 16 * padding - 64 * (steps - 1);
  __m512i chunk[8];
  __mmask64 mask = ~uint64_t{0} << 16 * padding;
  if (steps == 1) mask &= (uint64_t{1} << end) - 1;
  for (int i = 0; i < 8; ++i) chunk[i] = _mm512_maskz_loadu_epi8(mask, at[i]);
  if (steps == 1) put_last(inputs, count, chunk);
  Limbs h;
  {
    // The first step multiplies only what is there.
    const StepBlocks first =
        split_chunks(chunk, {padding > 0 ? zero : bit, padding > 1 ? zero : bit, padding > 2 ? zero : bit, bit});
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
      if (cold)
        for (int i = 0; i < 8; ++i) __builtin_prefetch(at[i] + offset + kMacAheadBytes, 0, 3);
      step_messages(h, chunk, top, power);
    }
    mask = (uint64_t{1} << end) - 1;
    for (int i = 0; i < 8; ++i) chunk[i] = _mm512_maskz_loadu_epi8(mask, at[i] + offset);
    put_last(inputs, count, chunk);
    step_messages(h, chunk, top, power);
  }
  store_tags(h, key, count, tags);
}

// Where eight messages of any lengths stand in common steps of four blocks. All end together; one whose blocks are no
// multiple of four begins with `padding` blocks that are nothing.
struct MixedPlan {
  uint64_t steps;
  __m512i start;       // the step in which each begins
  __m512i padding;     // blocks
  __m512i base;        // where each would have step 0
  __m512i first_mask;  // bytes that count in the step in which a message begins
  __m512i last_mask;   // and in the last step, whose last block is given apart
};

[[gnu::always_inline]] inline MixedPlan plan_mixed(const MacInput* inputs, int count) {
  alignas(64) uint64_t length[8];
  alignas(64) uint64_t address[8];
  for (int i = 0; i < 8; ++i) {
    length[i] = i < count ? inputs[i].length : 0;
    address[i] = reinterpret_cast<uint64_t>(length[i] != 0 ? inputs[i].source : kZeroChunk);
  }
  const __m512i lengths = _mm512_load_si512(length);
  const __m512i one = _mm512_set1_epi64(1);
  const __m512i whole = _mm512_srli_epi64(_mm512_add_epi64(lengths, _mm512_set1_epi64(15)), 4);
  const __m512i blocks = _mm512_add_epi64(whole, one);
  const __m512i own_steps = _mm512_srli_epi64(_mm512_add_epi64(blocks, _mm512_set1_epi64(3)), 2);
  MixedPlan plan;
  plan.padding = _mm512_sub_epi64(_mm512_slli_epi64(own_steps, 2), blocks);
  plan.steps = static_cast<uint64_t>(_mm512_reduce_max_epu64(own_steps));
  plan.start = _mm512_sub_epi64(_mm512_set1_epi64(static_cast<long long>(plan.steps)), own_steps);
  const __m512i padding_bytes = _mm512_slli_epi64(plan.padding, 4);
  plan.base =
      _mm512_sub_epi64(_mm512_sub_epi64(_mm512_load_si512(address), padding_bytes), _mm512_slli_epi64(plan.start, 6));
  plan.first_mask = _mm512_sllv_epi64(_mm512_set1_epi64(-1), padding_bytes);
  const __m512i last_bytes = _mm512_sub_epi64(_mm512_add_epi64(lengths, padding_bytes),
                                              _mm512_slli_epi64(_mm512_sub_epi64(own_steps, one), 6));
  plan.last_mask = _mm512_sub_epi64(_mm512_sllv_epi64(one, last_bytes), one);
  return plan;
}

// Where the messages of `active` have their chunks of `step`; the others are nowhere.
[[gnu::always_inline]] inline void chunk_places(const MixedPlan& plan, uint64_t step, __mmask8 active,
                                                uint64_t (&places)[8]) {
  const __m512i nowhere = _mm512_set1_epi64(reinterpret_cast<long long>(kZeroChunk));
  const __m512i here = _mm512_add_epi64(plan.base, _mm512_set1_epi64(static_cast<long long>(step) * 64));
  _mm512_store_si512(places, _mm512_mask_mov_epi64(nowhere, active, here));
}

// A step in which a message begins, or all end. Returns the messages that have begun.
[[gnu::always_inline]] inline __mmask8 edge_step(const MixedPlan& plan, const MacInput* inputs, int count,
                                                 uint64_t step, Limbs& h, const Factor (&power)[4]) {
  const __m512i now = _mm512_set1_epi64(static_cast<long long>(step));
  const __mmask8 active = _mm512_cmple_epu64_mask(plan.start, now);
  const __mmask8 begins = _mm512_cmpeq_epi64_mask(plan.start, now);
  const bool is_last = step == plan.steps - 1;
  __m512i mask = _mm512_maskz_set1_epi64(active, -1);
  mask = _mm512_mask_and_epi64(mask, begins, mask, plan.first_mask);
  if (is_last) mask = _mm512_and_si512(mask, plan.last_mask);
  alignas(64) uint64_t masks[8];
  alignas(64) uint64_t places[8];
  _mm512_store_si512(masks, mask);
  chunk_places(plan, step, active, places);
  __m512i chunk[8];
  for (int i = 0; i < 8; ++i) chunk[i] = _mm512_maskz_loadu_epi8(masks[i], at_address<const uint8_t>(places[i]));
  if (is_last) put_last(inputs, count, chunk);
  __m512i top[4];
  for (int block = 0; block < 4; ++block) {
    const __mmask8 nothing = begins & _mm512_cmpgt_epu64_mask(plan.padding, _mm512_set1_epi64(block));
    top[block] = _mm512_maskz_mov_epi64(active & static_cast<__mmask8>(~nothing), block_bit());
  }
  step_messages(h, chunk, top, power);
  return active;
}

// The steps from `step` to before `until`, in which the messages of `active` have whole chunks.
[[gnu::always_inline]] inline void whole_steps(const MixedPlan& plan, __mmask8 active, bool cold, uint64_t step,
                                               uint64_t until, Limbs& h, const Factor (&power)[4]) {
  alignas(64) uint64_t places[8];
  alignas(64) uint64_t strides[8];
  chunk_places(plan, step, active, places);
  _mm512_store_si512(strides, _mm512_maskz_set1_epi64(active, 64));
  const uint8_t* at[8];
  for (int i = 0; i < 8; ++i) at[i] = at_address<const uint8_t>(places[i]);
  const __m512i bit = _mm512_maskz_mov_epi64(active, block_bit());
  const __m512i top[4] = {bit, bit, bit, bit};
  for (; step < until; ++step) {
    __m512i chunk[8];
    for (int i = 0; i < 8; ++i) {
      chunk[i] = _mm512_loadu_si512(at[i]);
      if (cold) __builtin_prefetch(at[i] + kMacAheadBytes, 0, 3);
      at[i] += strides[i];
    }
    step_messages(h, chunk, top, power);
  }
}

// The tags of up to eight messages of any lengths.
[[gnu::noinline]] inline void mac_mixed(PolyScratch& scratch, const MacInput* inputs, int count, bool cold,
                                        uint8_t (*tags)[16]) {
  const uint8_t* key[8];
  for (int i = 0; i < 8; ++i) key[i] = inputs[i < count ? i : 0].key;
  make_powers(scratch.power, load_r(key));
  const MixedPlan plan = plan_mixed(inputs, count);
  Limbs h = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
  for (uint64_t step = 0; step < plan.steps;) {
    const __mmask8 active = edge_step(plan, inputs, count, step++, h, scratch.power);
    if (step >= plan.steps) break;
    // Up to the next message's beginning, or the end of all.
    const __m512i last = _mm512_set1_epi64(static_cast<long long>(plan.steps - 1));
    const __m512i next = _mm512_set1_epi64(static_cast<long long>(step));
    const __m512i edges = _mm512_mask_mov_epi64(last, _mm512_cmpge_epu64_mask(plan.start, next), plan.start);
    const uint64_t until = static_cast<uint64_t>(_mm512_reduce_min_epu64(edges));
    whole_steps(plan, active, cold, step, until, h, scratch.power);
    step = until;
  }
  store_tags(h, key, count, tags);
}

// The tags of up to eight messages, lanes of messages. `cold`: they are probably not in the cache.
inline void mac_messages(PolyScratch& scratch, const MacInput* inputs, int count, bool cold, uint8_t (*tags)[16]) {
  bool equal = true;
  for (int i = 1; i < count; ++i) equal &= inputs[i].length == inputs[0].length;
  if (equal)
    mac_equal(scratch, inputs, count, cold, tags);
  else
    mac_mixed(scratch, inputs, count, cold, tags);
}

}  // namespace
}  // namespace culvert::crypto
