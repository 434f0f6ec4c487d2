// ChaCha20 for AVX2: one lane of a 32-bit word vector is one block, eight to a vector, sixteen at a time, with scalar
// Poly1305 of other messages between the steps: its multiplications use ports that the vectors leave idle. Only the
// AVX2 engine includes this.
#pragma once

#include <immintrin.h>

#include "crypto/address.h"
#include "crypto/aead_lanes.h"
#include "crypto/chacha20_rounds.h"
#include "crypto/poly1305_queue.h"

namespace culvert::crypto {
namespace {

struct Words8 {
  using Words = __m256i;
  static Words add(Words a, Words b) { return _mm256_add_epi32(a, b); }
  static Words exclusive_or(Words a, Words b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  static Words rotate(Words a) {
    if constexpr (kBits == 16) {
      const __m128i bytes = _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
      return _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(bytes));
    } else if constexpr (kBits == 8) {
      const __m128i bytes = _mm_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
      return _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(bytes));
    } else {
      return _mm256_or_si256(_mm256_slli_epi32(a, kBits), _mm256_srli_epi32(a, 32 - kBits));
    }
  }
};

inline constexpr int kVectorLanes = 8;
inline constexpr int kStepLanes = 2 * kVectorLanes;

// Secret scratch of the block function; its owner wipes it.
struct alignas(32) ChaChaScratch {
  __m256i key[2][8];               // word i of the keys of eight lanes, for each half of a step
  __m256i state[2][kChaChaWords];  // the first state of each half
};

// The same key in every lane.
inline void broadcast_key(__m256i (&words)[8], const uint8_t* key) {
  for (int i = 0; i < 8; ++i) {
    int word = 0;
    __builtin_memcpy(&word, key + 4 * i, 4);
    words[i] = _mm256_set1_epi32(word);
  }
}

// Transposes eight vectors of eight words.
[[gnu::always_inline]] inline void transpose8(const __m256i* in, __m256i (&out)[8]) {
  __m256i pairs[8];
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm256_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
  }
  __m256i quads[8];
  for (int i = 0; i < 2; ++i) {
    quads[4 * i + 0] = _mm256_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
    quads[4 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
    quads[4 * i + 2] = _mm256_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    quads[4 * i + 3] = _mm256_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm256_permute2x128_si256(quads[i], quads[4 + i], 0x20);
    out[4 + i] = _mm256_permute2x128_si256(quads[i], quads[4 + i], 0x31);
  }
}

// A key of its own in every lane.
inline void gather_keys(__m256i (&words)[8], const uint8_t* const (&keys)[kVectorLanes]) {
  __m256i rows[8];
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys[i]));
  transpose8(rows, words);
}

inline void set_state(__m256i (&state)[kChaChaWords], const Lanes& lanes, int lane, const __m256i (&key)[8]) {
  const auto load = [](const uint32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); };
  for (int i = 0; i < 4; ++i) state[i] = _mm256_set1_epi32(static_cast<int>(kChaChaConstants[i]));
  for (int i = 0; i < 8; ++i) state[4 + i] = key[i];
  state[12] = load(lanes.counter + lane);
  state[13] = _mm256_setzero_si256();
  state[14] = load(lanes.nonce_low + lane);
  state[15] = load(lanes.nonce_high + lane);
}

// Adds the first state, and stores eight blocks one after another.
[[gnu::always_inline]] inline void store_stream(uint8_t (*stream)[kChaChaBlockBytes], const __m256i (&x)[kChaChaWords],
                                                const __m256i (&state)[kChaChaWords]) {
  for (int half = 0; half < 2; ++half) {
    __m256i words[8];
    for (int i = 0; i < 8; ++i) words[i] = _mm256_add_epi32(x[8 * half + i], state[8 * half + i]);
    __m256i blocks[8];
    transpose8(words, blocks);
    for (int i = 0; i < 8; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(stream[i] + 32 * half), blocks[i]);
  }
}

// Keeps the compiler from moving vector work over scalar work: mixed as written, both find their ports.
[[gnu::always_inline]] inline void keep_order() {
  asm volatile("" : : : "memory");
}

// The key stream of sixteen lanes from `lane` on into `stream`, while `queue` is worked on: two blocks of
// Poly1305 at a time, about as many in all as sixteen blocks of ChaCha20 have text. `other_key`: the keys of the
// second half.
[[gnu::noinline]] inline void generate_stream(ChaChaScratch& scratch, uint8_t (*stream)[kChaChaBlockBytes],
                                              const Lanes& lanes, int lane, const __m256i (&other_key)[8],
                                              const Ahead& ahead, MacQueue& queue) {
  set_state(scratch.state[0], lanes, lane, scratch.key[0]);
  set_state(scratch.state[1], lanes, lane + kVectorLanes, other_key);
  __m256i x[kChaChaWords];
  __m256i y[kChaChaWords];
  for (int i = 0; i < kChaChaWords; ++i) x[i] = scratch.state[0][i];
  for (int i = 0; i < kChaChaWords; ++i) y[i] = scratch.state[1][i];
  MacWork work = queue.work;
#pragma GCC unroll 1
  for (int round = 0; round < kChaChaDoubleRounds; ++round) {
    if (round < 8) {
      for (int line = 2 * round; line < 2 * round + 2; ++line) {
        __builtin_prefetch(at_address<const uint8_t>(ahead.read[line]), 0, 3);
        __builtin_prefetch(at_address<const uint8_t>(ahead.write[line]), 1, 3);
      }
    }
    half_double_round<Words8, false>(x);
    keep_order();
    work_on(queue, work);
    half_double_round<Words8, false>(y);
    keep_order();
    work_on(queue, work);
    half_double_round<Words8, true>(x);
    keep_order();
    work_on(queue, work);
    half_double_round<Words8, true>(y);
    keep_order();
    if (round < 4) work_on(queue, work);
  }
  queue.work = work;
  store_stream(stream, x, scratch.state[0]);
  store_stream(stream + kVectorLanes, y, scratch.state[1]);
}

// The same for eight lanes, with nothing beside.
[[gnu::noinline]] inline void generate_half_stream(ChaChaScratch& scratch, uint8_t (*stream)[kChaChaBlockBytes],
                                                   const Lanes& lanes, int lane) {
  set_state(scratch.state[0], lanes, lane, scratch.key[0]);
  __m256i x[kChaChaWords];
  for (int i = 0; i < kChaChaWords; ++i) x[i] = scratch.state[0][i];
#pragma GCC unroll 1
  for (int round = 0; round < kChaChaDoubleRounds; ++round) double_round<Words8>(x);
  store_stream(stream, x, scratch.state[0]);
}

// Combines one block of key stream with its text.
[[gnu::always_inline]] inline void apply_block(const Lanes& lanes, int lane, const uint8_t* stream) {
  const auto* source = at_address<const uint8_t>(lanes.source[lane]);
  auto* destination = at_address<uint8_t>(lanes.destination[lane]);
  const auto combine32 = [&](int at) __attribute__((always_inline)) {
    const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + at));
    const __m256i key = _mm256_load_si256(reinterpret_cast<const __m256i*>(stream + at));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(destination + at), _mm256_xor_si256(text, key));
  };
  uint32_t bytes = lanes.bytes[lane];
  if (bytes == kBlockBytes) [[likely]] {
    combine32(0);
    combine32(32);
    return;
  }
  int at = 0;
  if ((bytes & 32) != 0) {
    combine32(0);
    at = 32;
  }
  if ((bytes & 16) != 0) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + at));
    const __m128i key = _mm_load_si128(reinterpret_cast<const __m128i*>(stream + at));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(destination + at), _mm_xor_si128(text, key));
    at += 16;
  }
  for (bytes &= 15; bytes != 0; --bytes, ++at) destination[at] = static_cast<uint8_t>(source[at] ^ stream[at]);
}

}  // namespace
}  // namespace culvert::crypto
