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

}  // namespace
}  // namespace culvert::crypto
