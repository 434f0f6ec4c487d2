// Stands in for the compiler's <immintrin.h>: the AVX-512 intrinsics that the AVX-512 engine uses, in portable vectors.
// Tools that do not know AVX-512 (valgrind 3.19) can watch the engine's source run this way, and so can CPUs without
// it. No function here branches on a vector's content. Masks of loads and stores are different: an engine must not
// derive them from secrets, so here they do branch, and memcheck complains if they do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

using __m128i [[gnu::vector_size(16), gnu::may_alias]] = long long;
using __m256i [[gnu::vector_size(32), gnu::may_alias]] = long long;
using __m512i [[gnu::vector_size(64), gnu::may_alias]] = long long;
using __mmask8 = uint8_t;
using __mmask64 = uint64_t;
using _MM_PERM_ENUM = int;

namespace emulated {

using U32x16 [[gnu::vector_size(64)]] = uint32_t;
using U64x8 [[gnu::vector_size(64)]] = uint64_t;
__extension__ using Uint128 = unsigned __int128;

inline U32x16 words(__m512i a) {
  return reinterpret_cast<U32x16>(a);
}
inline U64x8 limbs(__m512i a) {
  return reinterpret_cast<U64x8>(a);
}
inline __m512i vector(U32x16 a) {
  return reinterpret_cast<__m512i>(a);
}
inline __m512i vector(U64x8 a) {
  return reinterpret_cast<__m512i>(a);
}

// All ones where the mask has a one.
inline __m512i spread(__mmask8 mask) {
  U64x8 out{};
  for (int i = 0; i < 8; ++i) out[i] = -(uint64_t{mask} >> i & 1);
  return vector(out);
}

template <class Test>
__mmask8 compare(__m512i a, __m512i b, Test test) {
  unsigned mask = 0;
  for (int i = 0; i < 8; ++i) mask |= static_cast<unsigned>(test(limbs(a)[i], limbs(b)[i])) << i;
  return static_cast<__mmask8>(mask);
}

// Through a packed type, because compilers take a pointer to a vector for an aligned one.
template <class Vector>
Vector load(const void* from) {
  struct [[gnu::packed, gnu::may_alias]] Unaligned {
    Vector value;
  };
  return static_cast<const Unaligned*>(from)->value;
}

}  // namespace emulated

// Loads and stores.
inline __m128i _mm_loadu_si128(const __m128i* from) {
  return emulated::load<__m128i>(from);
}
inline __m128i _mm_load_si128(const __m128i* from) {
  return emulated::load<__m128i>(from);
}
inline __m256i _mm256_loadu_si256(const __m256i* from) {
  return emulated::load<__m256i>(from);
}
inline __m512i _mm512_loadu_si512(const void* from) {
  return emulated::load<__m512i>(from);
}
inline __m512i _mm512_load_si512(const void* from) {
  return _mm512_loadu_si512(from);
}
inline void _mm512_storeu_si512(void* to, __m512i a) {
  std::memcpy(to, &a, sizeof a);
}
inline void _mm512_store_si512(void* to, __m512i a) {
  std::memcpy(to, &a, sizeof a);
}
inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* from) {
  uint8_t bytes[64] = {};
  for (int i = 0; i < 64; ++i)
    if ((mask >> i & 1) != 0) bytes[i] = static_cast<const uint8_t*>(from)[i];
  return emulated::load<__m512i>(bytes);
}
inline void _mm512_mask_storeu_epi8(void* to, __mmask64 mask, __m512i a) {
  uint8_t bytes[64];
  std::memcpy(bytes, &a, sizeof bytes);
  for (int i = 0; i < 64; ++i)
    if ((mask >> i & 1) != 0) static_cast<uint8_t*>(to)[i] = bytes[i];
}

// Constants, and one value in every lane.
inline __m512i _mm512_setzero_si512() {
  return __m512i{};
}
inline __m512i _mm512_set1_epi32(int a) {
  return emulated::vector(emulated::U32x16{} + static_cast<uint32_t>(a));
}
inline __m512i _mm512_set1_epi64(long long a) {
  return __m512i{} + a;
}
inline __m512i _mm512_setr_epi64(long long a, long long b, long long c, long long d, long long e, long long f,
                                 long long g, long long h) {
  return __m512i{a, b, c, d, e, f, g, h};
}
inline __m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l,
                                 int m, int n, int o, int p) {
  const int all[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
  return emulated::load<__m512i>(all);
}
inline __m128i _mm_set_epi32(int d, int c, int b, int a) {
  const int all[4] = {a, b, c, d};
  return emulated::load<__m128i>(all);
}
inline __m128i _mm_set_epi64x(long long b, long long a) {
  return __m128i{a, b};
}
inline __m512i _mm512_broadcast_i32x4(__m128i a) {
  return __m512i{a[0], a[1], a[0], a[1], a[0], a[1], a[0], a[1]};
}
inline __m512i _mm512_castsi128_si512(__m128i a) {
  return __m512i{a[0], a[1]};
}
inline __m512i _mm512_castsi256_si512(__m256i a) {
  return __m512i{a[0], a[1], a[2], a[3]};
}
inline __m512i _mm512_inserti64x2(__m512i a, __m128i b, int quarter) {
  a[2 * quarter] = b[0];
  a[2 * quarter + 1] = b[1];
  return a;
}
inline __m512i _mm512_inserti64x4(__m512i a, __m256i b, int half) {
  for (int i = 0; i < 4; ++i) a[4 * half + i] = b[i];
  return a;
}

// Arithmetic.
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  return emulated::vector(emulated::words(a) + emulated::words(b));
}
inline __m512i _mm512_add_epi64(__m512i a, __m512i b) {
  return emulated::vector(emulated::limbs(a) + emulated::limbs(b));
}
inline __m512i _mm512_sub_epi64(__m512i a, __m512i b) {
  return emulated::vector(emulated::limbs(a) - emulated::limbs(b));
}
inline __m512i _mm512_and_si512(__m512i a, __m512i b) {
  return a & b;
}
inline __m512i _mm512_or_si512(__m512i a, __m512i b) {
  return a | b;
}
inline __m512i _mm512_xor_si512(__m512i a, __m512i b) {
  return a ^ b;
}
inline __m128i _mm_xor_si128(__m128i a, __m128i b) {
  return a ^ b;
}
inline int _mm_testz_si128(__m128i a, __m128i b) {
  return ((a[0] & b[0]) | (a[1] & b[1])) == 0;
}
inline __m512i _mm512_rol_epi32(__m512i a, int bits) {
  return emulated::vector(emulated::words(a) << bits | emulated::words(a) >> (32 - bits));
}
inline __m512i _mm512_slli_epi64(__m512i a, unsigned bits) {
  return emulated::vector(emulated::limbs(a) << bits);
}
inline __m512i _mm512_srli_epi64(__m512i a, unsigned bits) {
  return emulated::vector(emulated::limbs(a) >> bits);
}
inline __m512i _mm512_sllv_epi64(__m512i a, __m512i bits) {
  emulated::U64x8 out{};
  for (int i = 0; i < 8; ++i) {
    const uint64_t shift = emulated::limbs(bits)[i];
    out[i] = shift < 64 ? emulated::limbs(a)[i] << shift : 0;
  }
  return emulated::vector(out);
}
inline emulated::Uint128 emulated_product52(uint64_t a, uint64_t b) {
  constexpr uint64_t kLow52 = (uint64_t{1} << 52) - 1;
  return emulated::Uint128{a & kLow52} * (b & kLow52);
}
inline __m512i _mm512_madd52lo_epu64(__m512i sum, __m512i a, __m512i b) {
  constexpr uint64_t kLow52 = (uint64_t{1} << 52) - 1;
  emulated::U64x8 out = emulated::limbs(sum);
  for (int i = 0; i < 8; ++i)
    out[i] += static_cast<uint64_t>(emulated_product52(emulated::limbs(a)[i], emulated::limbs(b)[i])) & kLow52;
  return emulated::vector(out);
}
inline __m512i _mm512_madd52hi_epu64(__m512i sum, __m512i a, __m512i b) {
  emulated::U64x8 out = emulated::limbs(sum);
  for (int i = 0; i < 8; ++i)
    out[i] += static_cast<uint64_t>(emulated_product52(emulated::limbs(a)[i], emulated::limbs(b)[i]) >> 52);
  return emulated::vector(out);
}
inline long long _mm512_reduce_add_epi64(__m512i a) {
  uint64_t sum = 0;
  for (int i = 0; i < 8; ++i) sum += emulated::limbs(a)[i];
  return static_cast<long long>(sum);
}
inline uint64_t _mm512_reduce_max_epu64(__m512i a) {
  uint64_t most = 0;
  for (int i = 0; i < 8; ++i) most = emulated::limbs(a)[i] > most ? emulated::limbs(a)[i] : most;
  return most;
}
inline uint64_t _mm512_reduce_min_epu64(__m512i a) {
  uint64_t least = ~uint64_t{0};
  for (int i = 0; i < 8; ++i) least = emulated::limbs(a)[i] < least ? emulated::limbs(a)[i] : least;
  return least;
}
inline uint64_t _bzhi_u64(uint64_t a, unsigned index) {
  index &= 0xff;
  return index < 64 ? a & ((uint64_t{1} << index) - 1) : a;
}

// Comparisons and masks.
inline __mmask8 _mm512_cmpeq_epi64_mask(__m512i a, __m512i b) {
  return emulated::compare(
      a, b, [](uint64_t x, uint64_t y) { return x == y; });
}
inline __mmask8 _mm512_cmpge_epu64_mask(__m512i a, __m512i b) {
  return emulated::compare(
      a, b, [](uint64_t x, uint64_t y) { return x >= y; });
}
inline __mmask8 _mm512_cmpgt_epu64_mask(__m512i a, __m512i b) {
  return emulated::compare(
      a, b, [](uint64_t x, uint64_t y) { return x > y; });
}
inline __mmask8 _mm512_cmple_epu64_mask(__m512i a, __m512i b) {
  return emulated::compare(
      a, b, [](uint64_t x, uint64_t y) { return x <= y; });
}
inline __mmask8 _mm512_cmplt_epu64_mask(__m512i a, __m512i b) {
  return emulated::compare(
      a, b, [](uint64_t x, uint64_t y) { return x < y; });
}
inline __m512i _mm512_mask_mov_epi64(__m512i no, __mmask8 mask, __m512i yes) {
  const __m512i chosen = emulated::spread(mask);
  return (yes & chosen) | (no & ~chosen);
}
inline __m512i _mm512_maskz_mov_epi64(__mmask8 mask, __m512i a) {
  return a & emulated::spread(mask);
}
inline __m512i _mm512_maskz_set1_epi64(__mmask8 mask, long long a) {
  return _mm512_maskz_mov_epi64(mask, _mm512_set1_epi64(a));
}
inline __m512i _mm512_mask_add_epi64(__m512i no, __mmask8 mask, __m512i a, __m512i b) {
  return _mm512_mask_mov_epi64(no, mask, _mm512_add_epi64(a, b));
}
inline __m512i _mm512_mask_and_epi64(__m512i no, __mmask8 mask, __m512i a, __m512i b) {
  return _mm512_mask_mov_epi64(no, mask, a & b);
}

// Shuffles. `choice` is always a constant.
inline __m512i _mm512_unpacklo_epi64(__m512i a, __m512i b) {
  return __m512i{a[0], b[0], a[2], b[2], a[4], b[4], a[6], b[6]};
}
inline __m512i _mm512_unpackhi_epi64(__m512i a, __m512i b) {
  return __m512i{a[1], b[1], a[3], b[3], a[5], b[5], a[7], b[7]};
}
template <int kHalf>
__m512i emulated_unpack_words(__m512i a, __m512i b) {
  emulated::U32x16 out{};
  for (int quarter = 0; quarter < 16; quarter += 4) {
    for (int i = 0; i < 2; ++i) {
      out[quarter + 2 * i] = emulated::words(a)[quarter + 2 * kHalf + i];
      out[quarter + 2 * i + 1] = emulated::words(b)[quarter + 2 * kHalf + i];
    }
  }
  return emulated::vector(out);
}
inline __m512i _mm512_unpacklo_epi32(__m512i a, __m512i b) {
  return emulated_unpack_words<0>(a, b);
}
inline __m512i _mm512_unpackhi_epi32(__m512i a, __m512i b) {
  return emulated_unpack_words<1>(a, b);
}
inline __m512i _mm512_shuffle_epi32(__m512i a, _MM_PERM_ENUM choice) {
  emulated::U32x16 out{};
  for (int i = 0; i < 16; ++i) out[i] = emulated::words(a)[(i & ~3) + (choice >> 2 * (i & 3) & 3)];
  return emulated::vector(out);
}
inline __m512i _mm512_shuffle_i64x2(__m512i a, __m512i b, int choice) {
  __m512i out{};
  for (int quarter = 0; quarter < 4; ++quarter) {
    const __m512i from = quarter < 2 ? a : b;
    const int chosen = choice >> 2 * quarter & 3;
    out[2 * quarter] = from[2 * chosen];
    out[2 * quarter + 1] = from[2 * chosen + 1];
  }
  return out;
}
inline __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, int choice) {
  return _mm512_shuffle_i64x2(a, b, choice);
}
inline __m512i _mm512_permutexvar_epi64(__m512i index, __m512i a) {
  __m512i out{};
  for (int i = 0; i < 8; ++i) out[i] = a[index[i] & 7];
  return out;
}
inline __m512i _mm512_permutex2var_epi64(__m512i a, __m512i index, __m512i b) {
  __m512i out{};
  for (int i = 0; i < 8; ++i) out[i] = (index[i] & 8) != 0 ? b[index[i] & 7] : a[index[i] & 7];
  return out;
}
