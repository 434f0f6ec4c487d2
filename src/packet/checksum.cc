#include "src/packet/checksum.h"

#include <cstring>

#include "src/packet/checksum_engine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace culvert::packet {
namespace {

// 2^32 is 1 modulo 65535, so a sum of 32-bit words has the same folded value as one of 16-bit words. Folding
// it once keeps every returned sum below 2^33: billions of them can be added before 64 bits overflow.
uint64_t bounded(uint64_t sum) {
  return (sum & 0xffffffffu) + (sum >> 32);
}

// The last bytes, fewer than 8: as one word padded with zeros, which costs no branch per byte.
template <bool kCopies>
uint64_t finish_tail(uint8_t* destination, const uint8_t* source, size_t length, uint64_t sum) {
  if (length >= 4) {
    uint32_t word;
    std::memcpy(&word, source, 4);
    if constexpr (kCopies) std::memcpy(destination, &word, 4);
    sum += word;
    source += 4;
    if constexpr (kCopies) destination += 4;
    length -= 4;
  }
  uint32_t last = 0;
  for (size_t i = 0; i < length; ++i) {
    std::memcpy(reinterpret_cast<uint8_t*>(&last) + i, source + i, 1);
    if constexpr (kCopies) destination[i] = source[i];
  }
  return bounded(sum + last);
}

// `sum` never overflows: 2^32 words of 32 bits are 16 GiB.
template <bool kCopies>
uint64_t finish_words(uint8_t* destination, const uint8_t* source, size_t length, uint64_t sum) {
  for (; length >= 8; length -= 8) {
    uint64_t word;
    std::memcpy(&word, source, 8);
    if constexpr (kCopies) std::memcpy(destination, &word, 8);
    sum += (word & 0xffffffffu) + (word >> 32);
    source += 8;
    if constexpr (kCopies) destination += 8;
  }
  return finish_tail<kCopies>(destination, source, length, sum);
}

bool everywhere() {
  return true;
}

uint64_t portable_add(const uint8_t* bytes, size_t length) {
  return finish_words<false>(nullptr, bytes, length, 0);
}
uint64_t portable_copy(uint8_t* destination, const uint8_t* source, size_t length) {
  return finish_words<true>(destination, source, length, 0);
}

#if defined(__x86_64__)

// Both loops below are the same: load a vector, store it, add its even and its odd 32-bit words to two
// accumulators of 64-bit lanes. A template over the vector type would need one target attribute for both. Of the
// portable version the compiler makes such a loop for SSE2.

template <bool kCopies>
__attribute__((target("avx2"))) uint64_t avx2_sum(uint8_t* destination, const uint8_t* source, size_t length) {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i even = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();
  for (; length >= 32; length -= 32) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
    if constexpr (kCopies) _mm256_storeu_si256(reinterpret_cast<__m256i*>(destination), words);
    even = _mm256_add_epi64(even, _mm256_and_si256(words, low));
    odd = _mm256_add_epi64(odd, _mm256_srli_epi64(words, 32));
    source += 32;
    if constexpr (kCopies) destination += 32;
  }
  const __m256i all = _mm256_add_epi64(even, odd);
  const __m128i both = _mm_add_epi64(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  const uint64_t sum = static_cast<uint64_t>(_mm_cvtsi128_si64(both)) +
                       static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(both, both)));
  return finish_words<kCopies>(destination, source, length, sum);
}

// Plain vector arithmetic: the intrinsics for it make g++ 12 warn of its own header (GCC bug 105593).
typedef uint64_t Lanes512 __attribute__((vector_size(64)));

template <bool kCopies>
__attribute__((target("avx512f,avx512bw,bmi2"))) uint64_t avx512_sum(uint8_t* destination, const uint8_t* source,
                                                                     size_t length) {
  Lanes512 even{};
  Lanes512 odd{};
  for (; length >= 64; length -= 64) {
    const __m512i words = _mm512_loadu_si512(source);
    if constexpr (kCopies) _mm512_storeu_si512(destination, words);
    even += (Lanes512)words & 0xffffffffu;
    odd += (Lanes512)words >> 32;
    source += 64;
    if constexpr (kCopies) destination += 64;
  }
  if (length != 0) {
    const __mmask64 rest = _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(length));
    const __m512i words = _mm512_maskz_loadu_epi8(rest, source);
    if constexpr (kCopies) _mm512_mask_storeu_epi8(destination, rest, words);
    even += (Lanes512)words & 0xffffffffu;
    odd += (Lanes512)words >> 32;
  }
  even += odd;
  uint64_t sum = 0;
  for (int lane = 0; lane < 8; ++lane) sum += even[lane];
  return bounded(sum);
}

uint64_t avx2_add(const uint8_t* bytes, size_t length) {
  return avx2_sum<false>(nullptr, bytes, length);
}
uint64_t avx2_copy(uint8_t* destination, const uint8_t* source, size_t length) {
  return avx2_sum<true>(destination, source, length);
}
uint64_t avx512_add(const uint8_t* bytes, size_t length) {
  return avx512_sum<false>(nullptr, bytes, length);
}
uint64_t avx512_copy(uint8_t* destination, const uint8_t* source, size_t length) {
  return avx512_sum<true>(destination, source, length);
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("bmi2") != 0;
}

#endif

constexpr ChecksumEngine kEngines[] = {
#if defined(__x86_64__)
    {"AVX-512", has_avx512, avx512_add, avx512_copy},
    {"AVX2", has_avx2, avx2_add, avx2_copy},
#endif
    {"portable", everywhere, portable_add, portable_copy}};

constexpr const ChecksumEngine& kPortable = kEngines[std::size(kEngines) - 1];

const ChecksumEngine* fastest_engine() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  for (const ChecksumEngine& engine : kEngines)
    if (engine.runs_here()) return &engine;
  return &kPortable;
}

// The portable one serves whoever sums before this file's initializers have run; it never changes after main()
// began, so no thread can see it change.
constinit const ChecksumEngine* chosen = &kPortable;
[[maybe_unused]] const bool chosen_at_start = (chosen = fastest_engine(), true);

}  // namespace

std::span<const ChecksumEngine> checksum_engines() {
  return kEngines;
}

uint64_t checksum_add(const uint8_t* bytes, size_t length) {
  return chosen->add(bytes, length);
}

uint64_t checksum_copy(uint8_t* destination, const uint8_t* source, size_t length) {
  return chosen->copy(destination, source, length);
}

}  // namespace culvert::packet
