// The ChaCha20 permutation (RFC 8439 section 2.3) over any vector of words: one lane is one block, so the same code is
// one block in scalar registers, eight in AVX2 and sixteen in AVX-512. Only engine files include this; everything is in
// an unnamed namespace because each of them is compiled for other instruction sets.
//
// `Simd` is a type with: Words, and the static functions add(a, b), exclusive_or(a, b) and rotate<bits>(a) on it.
#pragma once

#include <cstdint>

namespace culvert::crypto {
namespace {

inline constexpr int kChaChaWords = 16;
inline constexpr int kChaChaBlockBytes = 64;
inline constexpr int kChaChaDoubleRounds = 10;

// "expand 32-byte k"
inline constexpr uint32_t kChaChaConstants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

// Four quarter rounds side by side: the columns, or with kDiagonal the diagonals.
template <class Simd, bool kDiagonal>
[[gnu::always_inline]] inline void half_double_round(typename Simd::Words (&x)[kChaChaWords]) {
  constexpr int kStep = kDiagonal ? 1 : 0;
  const auto mix = [&](int to, int from, int rotated, auto rotate) __attribute__((always_inline)) {
    for (int i = 0; i < 4; ++i) {
      auto& sum = x[4 * to + ((i + to * kStep) & 3)];
      sum = Simd::add(sum, x[4 * from + ((i + from * kStep) & 3)]);
    }
    for (int i = 0; i < 4; ++i) {
      auto& word = x[4 * rotated + ((i + rotated * kStep) & 3)];
      word = Simd::exclusive_or(word, x[4 * to + ((i + to * kStep) & 3)]);
    }
    for (int i = 0; i < 4; ++i) {
      auto& word = x[4 * rotated + ((i + rotated * kStep) & 3)];
      word = rotate(word);
    }
  };
  using Words = typename Simd::Words;
  mix(
      0, 1, 3, [](Words a) __attribute__((always_inline)) { return Simd::template rotate<16>(a); });
  mix(
      2, 3, 1, [](Words a) __attribute__((always_inline)) { return Simd::template rotate<12>(a); });
  mix(
      0, 1, 3, [](Words a) __attribute__((always_inline)) { return Simd::template rotate<8>(a); });
  mix(
      2, 3, 1, [](Words a) __attribute__((always_inline)) { return Simd::template rotate<7>(a); });
}

template <class Simd>
[[gnu::always_inline]] inline void double_round(typename Simd::Words (&x)[kChaChaWords]) {
  half_double_round<Simd, false>(x);
  half_double_round<Simd, true>(x);
}

// One block in scalar registers.
struct Words1 {
  using Words = uint32_t;
  static Words add(Words a, Words b) { return a + b; }
  static Words exclusive_or(Words a, Words b) { return a ^ b; }
  template <int kBits>
  static Words rotate(Words a) {
    return a << kBits | a >> (32 - kBits);
  }
};

// The first state of a block of a message.
[[gnu::always_inline]] inline void first_state(uint32_t (&x)[kChaChaWords], const uint8_t* key, uint64_t counter,
                                               uint32_t block) {
  for (int i = 0; i < 4; ++i) x[i] = kChaChaConstants[i];
  __builtin_memcpy(x + 4, key, 32);
  x[12] = block;
  x[13] = 0;
  x[14] = static_cast<uint32_t>(counter);
  x[15] = static_cast<uint32_t>(counter >> 32);
}

// Adds the first state to what the rounds made of it: 64 bytes of key stream.
[[gnu::always_inline]] inline void finish_block(const uint32_t (&x)[kChaChaWords], const uint8_t* key, uint64_t counter,
                                                uint32_t block, uint8_t* stream) {
  uint32_t words[kChaChaWords];
  first_state(words, key, counter, block);
  for (int i = 0; i < kChaChaWords; ++i) words[i] += x[i];
  __builtin_memcpy(stream, words, sizeof words);
}

// One block by scalar registers alone: for one or two nothing is faster, because vector instructions take twice as long
// to follow each other. Block 0 begins with the key of Poly1305.
[[gnu::noinline]] inline void make_block(const uint8_t* key, uint64_t counter, uint32_t block, uint8_t* stream) {
  uint32_t x[kChaChaWords];
  first_state(x, key, counter, block);
#pragma GCC unroll 1
  for (int round = 0; round < kChaChaDoubleRounds; ++round) double_round<Words1>(x);
  finish_block(x, key, counter, block, stream);
}

}  // namespace
}  // namespace culvert::crypto
