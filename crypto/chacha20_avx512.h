// ChaCha20 for AVX-512: one lane of a 32-bit word vector is one block. Sixteen lanes depend on one chain of
// instructions (two cycles each on Zen 5), so thirty-two are worked on at a time wherever there are that many. Only
// the AVX-512 engine includes this.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "crypto/address.h"
#include "crypto/aead_lanes.h"
#include "crypto/chacha20_rounds.h"
#include "crypto/poly1305_pair.h"

namespace culvert::crypto {
namespace {

struct Words16 {
  using Words = __m512i;
  static Words add(Words a, Words b) { return _mm512_add_epi32(a, b); }
  static Words exclusive_or(Words a, Words b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  static Words rotate(Words a) {
    return _mm512_rol_epi32(a, kBits);
  }
};

inline constexpr int kVectorLanes = 16;

// Secret scratch of the block function; its owner wipes it.
struct alignas(64) ChaChaHalf {
  __m512i key[8];                // word i of the keys of sixteen lanes
  __m512i stream[kChaChaWords];  // word i of the key stream of sixteen lanes
};

struct ChaChaScratch {
  ChaChaHalf half[2];
};

// The same key in every lane.
inline void broadcast_key(__m512i (&words)[8], const uint8_t* key) {
  for (int i = 0; i < 8; ++i) {
    int word = 0;
    __builtin_memcpy(&word, key + 4 * i, 4);
    words[i] = _mm512_set1_epi32(word);
  }
}

// A key of its own in every lane: sixteen times 32 bytes, transposed.
inline void gather_keys(__m512i (&words)[8], const uint8_t* const (&keys)[kVectorLanes]) {
  // pairs[i]: the key of lane i in the lower half, that of lane i + 8 in the upper one.
  __m512i pairs[8];
  for (int i = 0; i < 8; ++i) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys[i]));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys[i + 8]));
    pairs[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  // Transposes 4 x 4 words within every 128 bits: quads[4 * h + w] has in its quarters word w of lanes 4h..4h+3 (keys'
  // first half), word w + 4 of the same, and the same of the lanes 8 higher.
  __m512i quads[8];
  for (int half = 0; half < 2; ++half) {
    const __m512i* in = pairs + 4 * half;
    const __m512i low01 = _mm512_unpacklo_epi32(in[0], in[1]);
    const __m512i high01 = _mm512_unpackhi_epi32(in[0], in[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(in[2], in[3]);
    const __m512i high23 = _mm512_unpackhi_epi32(in[2], in[3]);
    quads[4 * half + 0] = _mm512_unpacklo_epi64(low01, low23);
    quads[4 * half + 1] = _mm512_unpackhi_epi64(low01, low23);
    quads[4 * half + 2] = _mm512_unpacklo_epi64(high01, high23);
    quads[4 * half + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
  // Lanes in order: quarters 0 of both halves, then quarters 2 (or 1 and 3 for the upper words of the key).
  const __m512i lower = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i upper = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  for (int word = 0; word < 4; ++word) {
    words[word] = _mm512_permutex2var_epi64(quads[word], lower, quads[4 + word]);
    words[4 + word] = _mm512_permutex2var_epi64(quads[word], upper, quads[4 + word]);
  }
}

// The first state of sixteen lanes from `lane` on.
[[gnu::always_inline]] inline void load_state(__m512i (&x)[kChaChaWords], const Lanes& lanes, int lane,
                                              const __m512i (&key)[8]) {
  for (int i = 0; i < 4; ++i) x[i] = _mm512_set1_epi32(static_cast<int>(kChaChaConstants[i]));
  for (int i = 0; i < 8; ++i) x[4 + i] = key[i];
  x[12] = _mm512_loadu_si512(lanes.counter + lane);
  x[13] = _mm512_setzero_si512();
  x[14] = _mm512_loadu_si512(lanes.nonce_low + lane);
  x[15] = _mm512_loadu_si512(lanes.nonce_high + lane);
}

// Adds the first state and stores the words of sixteen lanes.
[[gnu::always_inline]] inline void store_stream(__m512i (&stream)[kChaChaWords], const __m512i (&x)[kChaChaWords],
                                                const Lanes& lanes, int lane, const __m512i (&key)[8]) {
  __m512i first[kChaChaWords];
  load_state(first, lanes, lane, key);
  for (int i = 0; i < kChaChaWords; ++i) stream[i] = i == 13 ? x[i] : _mm512_add_epi32(x[i], first[i]);
}

// row kTo += row kFrom; row kTurned = (row kTurned ^ row kTo) <<< kBits; with kDiagonal the columns of a row are
// shifted by its number. Instructions as written: compilers spill registers where thirty-two lanes leave none over, and
// move scalar work among vector work together, where it finds no free ports.
template <int kBits, int kTo, int kFrom, int kTurned, bool kDiagonal>
[[gnu::always_inline]] inline void mix_rows(__m512i (&x)[kChaChaWords]) {
  constexpr auto word = [](int row, int i) { return 4 * row + ((i + (kDiagonal ? row : 0)) & 3); };
  asm volatile(
      "vpaddd %[from0], %[to0], %[to0]\n\t"
      "vpaddd %[from1], %[to1], %[to1]\n\t"
      "vpaddd %[from2], %[to2], %[to2]\n\t"
      "vpaddd %[from3], %[to3], %[to3]\n\t"
      "vpxord %[to0], %[turned0], %[turned0]\n\t"
      "vpxord %[to1], %[turned1], %[turned1]\n\t"
      "vpxord %[to2], %[turned2], %[turned2]\n\t"
      "vpxord %[to3], %[turned3], %[turned3]\n\t"
      "vprold %[bits], %[turned0], %[turned0]\n\t"
      "vprold %[bits], %[turned1], %[turned1]\n\t"
      "vprold %[bits], %[turned2], %[turned2]\n\t"
      "vprold %[bits], %[turned3], %[turned3]"
      : [to0] "+v"(x[word(kTo, 0)]), [to1] "+v"(x[word(kTo, 1)]), [to2] "+v"(x[word(kTo, 2)]),
        [to3] "+v"(x[word(kTo, 3)]), [turned0] "+v"(x[word(kTurned, 0)]), [turned1] "+v"(x[word(kTurned, 1)]),
        [turned2] "+v"(x[word(kTurned, 2)]), [turned3] "+v"(x[word(kTurned, 3)])
      : [from0] "v"(x[word(kFrom, 0)]), [from1] "v"(x[word(kFrom, 1)]), [from2] "v"(x[word(kFrom, 2)]),
        [from3] "v"(x[word(kFrom, 3)]), [bits] "i"(kBits));
}

// Four quarter rounds side by side: the columns, or with kDiagonal the diagonals.
template <bool kDiagonal>
[[gnu::always_inline]] inline void quarter_rounds(__m512i (&x)[kChaChaWords]) {
#if defined(CULVERT_CONSTANT_TIME_CHECK)
  half_double_round<Words16, kDiagonal>(x);  // valgrind knows no AVX-512, and an emulated vector fits no register
#else
  mix_rows<16, 0, 1, 3, kDiagonal>(x);
  mix_rows<12, 2, 3, 1, kDiagonal>(x);
  mix_rows<8, 0, 1, 3, kDiagonal>(x);
  mix_rows<7, 2, 3, 1, kDiagonal>(x);
#endif
}

// The key stream of kHalves times sixteen lanes from `lane` on, word by word into the halves of `scratch`.
// `shared_key`: both halves use the first half's keys. With kMacs `pair` is worked on: 30 blocks of each message.
template <int kHalves, bool kMacs>
[[gnu::noinline]] inline void generate_stream(ChaChaScratch& scratch, const Lanes& lanes, int lane, bool shared_key,
                                              [[maybe_unused]] const Ahead& ahead, [[maybe_unused]] MacPair& pair) {
  const __m512i(&other_key)[8] = scratch.half[shared_key ? 0 : 1].key;
  __m512i x[kChaChaWords];
  __m512i y[kChaChaWords];
  load_state(x, lanes, lane, scratch.half[0].key);
  if constexpr (kHalves == 2) load_state(y, lanes, lane + kVectorLanes, other_key);
  PairChain first, second;
  PairKey key[2];  // near the stack pointer: no register is left to point at them
  if constexpr (kMacs) {
    first = pair.chain[0];
    second = pair.chain[1];
    std::memcpy(key, pair.key, sizeof key);
  }
  const auto work_on_both = [&](int block) __attribute__((always_inline)) {
    if constexpr (kMacs) {
      work_on_chain(first, key[0], block);
      work_on_chain(second, key[1], block);
    }
  };
#pragma GCC unroll 1
  for (int round = 0; round < kChaChaDoubleRounds; ++round) {
    if constexpr (kHalves == 2) {
      if (round < 8) {
        for (int line = 4 * round; line < 4 * round + 4; ++line) {
          __builtin_prefetch(at_address<const uint8_t>(ahead.read[line]), 0, 3);
          __builtin_prefetch(at_address<const uint8_t>(ahead.write[line]), 1, 3);
        }
      }
    }
    if constexpr (kMacs) {
      refill_chain(pair, first, key[0]);
      refill_chain(pair, second, key[1]);
    }
    quarter_rounds<false>(x);
    work_on_both(0);
    if constexpr (kHalves == 2) quarter_rounds<false>(y);
    work_on_both(1);
    quarter_rounds<true>(x);
    work_on_both(2);
    if constexpr (kHalves == 2) quarter_rounds<true>(y);
    if constexpr (kMacs) {
      first.at += kPairBytes;
      second.at += kPairBytes;
    }
  }
  if constexpr (kMacs) {
    pair.chain[0] = first;
    pair.chain[1] = second;
    std::memcpy(pair.key, key, sizeof key);
    std::memset(key, 0, sizeof key);
    asm volatile("" : : "m"(key));
  }
  store_stream(scratch.half[0].stream, x, lanes, lane, scratch.half[0].key);
  if constexpr (kHalves == 2) store_stream(scratch.half[1].stream, y, lanes, lane + kVectorLanes, other_key);
}

// Turns sixteen words of sixteen lanes into sixteen blocks; `emit(lane, block)` gets each.
template <class Emit>
[[gnu::always_inline]] inline void transpose(const __m512i (&words)[kChaChaWords], Emit emit) {
  // quads[4 * i + j]: in quarter q the words 4i..4i+3 of lane 4q + j.
  __m512i quads[kChaChaWords];
  for (int i = 0; i < 4; ++i) {
    const __m512i low01 = _mm512_unpacklo_epi32(words[4 * i], words[4 * i + 1]);
    const __m512i high01 = _mm512_unpackhi_epi32(words[4 * i], words[4 * i + 1]);
    const __m512i low23 = _mm512_unpacklo_epi32(words[4 * i + 2], words[4 * i + 3]);
    const __m512i high23 = _mm512_unpackhi_epi32(words[4 * i + 2], words[4 * i + 3]);
    quads[4 * i + 0] = _mm512_unpacklo_epi64(low01, low23);
    quads[4 * i + 1] = _mm512_unpackhi_epi64(low01, low23);
    quads[4 * i + 2] = _mm512_unpacklo_epi64(high01, high23);
    quads[4 * i + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
  for (int j = 0; j < 4; ++j) {
    const __m512i even_low = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0xdd);
    const __m512i even_high = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0x88);
    const __m512i odd_high = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0xdd);
    emit(j, _mm512_shuffle_i32x4(even_low, even_high, 0x88));
    emit(4 + j, _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
    emit(8 + j, _mm512_shuffle_i32x4(even_low, even_high, 0xdd));
    emit(12 + j, _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd));
  }
}

// Ones for the first `bytes` bytes, 0..64.
inline __mmask64 first_bytes(uint64_t bytes) {
  return _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(bytes));
}

[[gnu::always_inline]] inline void apply_block(const Lanes& lanes, int lane, __m512i block) {
  const auto* source = at_address<const uint8_t>(lanes.source[lane]);
  auto* destination = at_address<uint8_t>(lanes.destination[lane]);
  if (lanes.bytes[lane] == kBlockBytes) [[likely]] {
    _mm512_storeu_si512(destination, _mm512_xor_si512(_mm512_loadu_si512(source), block));
  } else {
    const __mmask64 mask = first_bytes(lanes.bytes[lane]);
    const __m512i text = _mm512_maskz_loadu_epi8(mask, source);
    _mm512_mask_storeu_epi8(destination, mask, _mm512_xor_si512(text, block));
  }
}

// Combines the generated key stream of sixteen lanes with their texts.
[[gnu::noinline]] inline void apply_stream(const __m512i (&stream)[kChaChaWords], const Lanes& lanes, int lane) {
  transpose(
      stream, [&](int i, __m512i block) __attribute__((always_inline)) { apply_block(lanes, lane + i, block); });
}

// Stores the generated key stream of sixteen lanes, block after block.
[[gnu::noinline]] inline void keep_stream(const __m512i (&stream)[kChaChaWords], __m512i* blocks) {
  transpose(
      stream, [&](int i, __m512i block) __attribute__((always_inline)) { blocks[i] = block; });
}

}  // namespace
}  // namespace culvert::crypto
