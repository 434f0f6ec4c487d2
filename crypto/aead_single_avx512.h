// One message alone, for the AVX-512 engine. Nothing can fill lanes here, and the chain of instructions is what takes
// the time. So a vector holds one row of the states of four consecutive blocks (RFC 8439 section 2.3's matrix), up to
// six sets of them side by side, and the message's block 0 runs beside them in scalar registers, where it is done twice
// as early: the powers of r are ready when the text is.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "crypto/aead_lanes.h"
#include "crypto/chacha20_avx512.h"
#include "crypto/chacha20_rounds.h"
#include "crypto/declassify.h"
#include "crypto/poly1305_ifma_blocks.h"

namespace culvert::crypto {
namespace {

inline constexpr int kSetBlocks = 4;
inline constexpr int kMaxSets = 6;
inline constexpr uint32_t kMaxSingleBytes = kMaxSets * kSetBlocks * kBlockBytes;

// Secret scratch; its owner wipes what was used: mac_key and the first `sets` sets of `stream`.
struct alignas(64) SingleScratch {
  uint8_t mac_key[kChaChaBlockBytes];  // block 0
  __m512i stream[kMaxSets * kSetBlocks];
};

// One set: rows of four states, one per quarter.
struct Rows {
  __m512i a, b, c, d;
};

template <int kFirst, int kSecond>
[[gnu::always_inline]] inline void quarter_rows(Rows& x) {
  x.a = _mm512_add_epi32(x.a, x.b);
  x.d = _mm512_rol_epi32(_mm512_xor_si512(x.d, x.a), kFirst);
  x.c = _mm512_add_epi32(x.c, x.d);
  x.b = _mm512_rol_epi32(_mm512_xor_si512(x.b, x.c), kSecond);
}

// Turns columns into diagonals (or back, with kBack).
template <bool kBack>
[[gnu::always_inline]] inline void rotate_rows(Rows& x) {
  constexpr auto kByOne = static_cast<_MM_PERM_ENUM>(0x39);
  constexpr auto kByTwo = static_cast<_MM_PERM_ENUM>(0x4e);
  constexpr auto kByThree = static_cast<_MM_PERM_ENUM>(0x93);
  x.b = _mm512_shuffle_epi32(x.b, kBack ? kByThree : kByOne);
  x.c = _mm512_shuffle_epi32(x.c, kByTwo);
  x.d = _mm512_shuffle_epi32(x.d, kBack ? kByOne : kByThree);
}

template <int kSets>
[[gnu::always_inline]] inline void double_round_rows(Rows (&x)[kSets]) {
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) quarter_rows<16, 12>(x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) quarter_rows<8, 7>(x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) rotate_rows<false>(x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) quarter_rows<16, 12>(x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) quarter_rows<8, 7>(x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) rotate_rows<true>(x[i]);
}

// The Poly1305 key and the key stream of blocks 1 .. 4 * kSets.
template <int kSets>
[[gnu::noinline]] void generate_single(SingleScratch& scratch, const uint8_t* key, uint64_t counter) {
  uint32_t scalar[kChaChaWords];
  first_state(scalar, key, counter, 0);
  const auto row = [](const void* from) __attribute__((always_inline)) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(from)));
  };
  const __m512i nonce = _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<long long>(counter), 0));
  const __m512i number = _mm512_setr_epi32(1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0);
  const __m512i four = _mm512_broadcast_i32x4(_mm_set_epi32(0, 0, 0, kSetBlocks));
  const Rows first = {row(kChaChaConstants), row(key), row(key + 16), _mm512_add_epi32(nonce, number)};
  Rows x[kSets];
  __m512i d = first.d;
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) {
    x[i] = first;
    x[i].d = d;
    d = _mm512_add_epi32(d, four);
  }
  // The scalar block takes half as long per round: two of its rounds in each of the first ones.
#pragma GCC unroll 1
  for (int round = 0; round < kChaChaDoubleRounds / 2; ++round) {
    double_round<Words1>(scalar);
    double_round_rows<kSets>(x);
    double_round<Words1>(scalar);
  }
  finish_block(scalar, key, counter, 0, scratch.mac_key);
#pragma GCC unroll 1
  for (int round = kChaChaDoubleRounds / 2; round < kChaChaDoubleRounds; ++round) double_round_rows<kSets>(x);
  d = first.d;
#pragma GCC unroll 8
  for (int i = 0; i < kSets; ++i) {
    const __m512i row_a = _mm512_add_epi32(x[i].a, first.a);
    const __m512i row_b = _mm512_add_epi32(x[i].b, first.b);
    const __m512i row_c = _mm512_add_epi32(x[i].c, first.c);
    const __m512i row_d = _mm512_add_epi32(x[i].d, d);
    d = _mm512_add_epi32(d, four);
    const __m512i ab_even = _mm512_shuffle_i32x4(row_a, row_b, 0x88);
    const __m512i ab_odd = _mm512_shuffle_i32x4(row_a, row_b, 0xdd);
    const __m512i cd_even = _mm512_shuffle_i32x4(row_c, row_d, 0x88);
    const __m512i cd_odd = _mm512_shuffle_i32x4(row_c, row_d, 0xdd);
    scratch.stream[4 * i + 0] = _mm512_shuffle_i32x4(ab_even, cd_even, 0x88);
    scratch.stream[4 * i + 1] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0x88);
    scratch.stream[4 * i + 2] = _mm512_shuffle_i32x4(ab_even, cd_even, 0xdd);
    scratch.stream[4 * i + 3] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0xdd);
  }
}

inline void apply_single(const SingleScratch& scratch, const uint8_t* source, uint8_t* destination, uint32_t length) {
  int block = 0;
  for (; length >= kBlockBytes; length -= kBlockBytes, source += kBlockBytes, destination += kBlockBytes)
    _mm512_storeu_si512(destination, _mm512_xor_si512(_mm512_loadu_si512(source), scratch.stream[block++]));
  if (length != 0) {
    const __mmask64 mask = first_bytes(length);
    const __m512i text = _mm512_maskz_loadu_epi8(mask, source);
    _mm512_mask_storeu_epi8(destination, mask, _mm512_xor_si512(text, scratch.stream[block]));
  }
}

// Below this many bytes, scalar Poly1305 is done before lanes of blocks have their powers of r.
inline constexpr uint64_t kScalarMacBytes = 128;

inline void mac_single(const MacInput& input, uint8_t* tag) {
  if (input.length < kScalarMacBytes)
    mac_scalar(input, tag);
  else
    mac_blocks(input, tag);
}

inline int sets_of(uint32_t length) {
  return static_cast<int>((length + kSetBlocks * kBlockBytes - 1) / (kSetBlocks * kBlockBytes));
}

// `sets` is that of the message's length.
inline void begin_single(SingleScratch& scratch, const uint8_t* key, uint64_t counter, int sets) {
  switch (sets) {
    case 0:
      return make_block(key, counter, 0, scratch.mac_key);
    case 1:
      return generate_single<1>(scratch, key, counter);
    case 2:
      return generate_single<2>(scratch, key, counter);
    case 3:
      return generate_single<3>(scratch, key, counter);
    case 4:
      return generate_single<4>(scratch, key, counter);
    case 5:
      return generate_single<5>(scratch, key, counter);
    default:
      return generate_single<kMaxSets>(scratch, key, counter);
  }
}

inline void wipe_single(SingleScratch& scratch, int sets) {
  std::memset(&scratch, 0, sizeof(__m512i) * static_cast<size_t>(1 + sets * kSetBlocks));
  asm volatile("" : : "r"(&scratch) : "memory");
}

// Up to kMaxSingleBytes.
inline void seal_single(SingleScratch& scratch, const SealMessage& message) {
  const int sets = sets_of(message.length);
  begin_single(scratch, message.key, message.counter, sets);
  apply_single(scratch, message.source, message.destination, message.length);
  mac_single({scratch.mac_key, message.destination, message.length, {0, message.length}},
             message.destination + message.length);
  wipe_single(scratch, sets);
}

inline void open_single(SingleScratch& scratch, OpenMessage& message) {
  const int sets = sets_of(message.length);
  begin_single(scratch, message.key, message.counter, sets);
  alignas(16) uint8_t tag[kAeadTagBytes];
  mac_single({scratch.mac_key, message.source, message.length, {0, message.length}}, tag);
  const __m128i sent = _mm_loadu_si128(reinterpret_cast<const __m128i*>(message.source + message.length));
  const __m128i wrong = _mm_xor_si128(sent, _mm_load_si128(reinterpret_cast<const __m128i*>(tag)));
  message.authentic = declassify(_mm_testz_si128(wrong, wrong) != 0);
  if (message.authentic)
    apply_single(scratch, message.source, message.destination, message.length);
  else if (message.length != 0)
    std::memset(message.destination, 0, message.length);
  wipe_single(scratch, sets);
}

}  // namespace
}  // namespace culvert::crypto
