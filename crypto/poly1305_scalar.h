// Poly1305 (RFC 8439 section 2.5) in 64-bit registers, one block after another: for short messages, and beside vector
// work, because multiplications run on other ports. Only engine files include this; everything is in an unnamed
// namespace because each of them is compiled for other instruction sets.
#pragma once

#include <cstdint>

namespace culvert::crypto {
namespace {

// One message to authenticate: `length` bytes, padded with zeros to blocks of 16, and then `last`: the AEAD's length
// block, which never lies in memory.
struct MacInput {
  const uint8_t* key;     // 32 bytes: r, not yet clamped, and s
  const uint8_t* source;  // may be null if length is 0
  uint64_t length;
  uint64_t last[2];  // the last block: low and high half
};

__extension__ using Uint128 = unsigned __int128;

// The accumulator h (h2 stays below 8) and r, clamped.
struct PolyState {
  uint64_t h0, h1, h2;
  uint64_t r0, r1;
  uint64_t r1_5_4;  // 5/4 r1: r1's lower two bits are clear, and 2^130 = 5
};

[[gnu::always_inline]] inline uint64_t load64(const uint8_t* from) {
  uint64_t value = 0;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

[[gnu::always_inline]] inline void poly_begin(PolyState& state, const uint8_t* key) {
  state.r0 = load64(key) & 0x0ffffffc0fffffff;
  state.r1 = load64(key + 8) & 0x0ffffffc0ffffffc;
  state.r1_5_4 = state.r1 + (state.r1 >> 2);
  state.h0 = state.h1 = state.h2 = 0;
}

// h = (h + block + 2^128) * r, with h2 brought below 8 but not fully reduced.
[[gnu::always_inline]] inline void poly_block(PolyState& state, uint64_t low, uint64_t high) {
  Uint128 sum = Uint128{state.h0} + low;
  const uint64_t h0 = static_cast<uint64_t>(sum);
  sum = Uint128{state.h1} + high + static_cast<uint64_t>(sum >> 64);
  const uint64_t h1 = static_cast<uint64_t>(sum);
  const uint64_t h2 = state.h2 + static_cast<uint64_t>(sum >> 64) + 1;
  const Uint128 d0 = Uint128{h0} * state.r0 + Uint128{h1} * state.r1_5_4;
  const Uint128 d1 =
      Uint128{h0} * state.r1 + Uint128{h1} * state.r0 + h2 * state.r1_5_4 + static_cast<uint64_t>(d0 >> 64);
  const uint64_t d2 = h2 * state.r0 + static_cast<uint64_t>(d1 >> 64);
  // What is above 2^130 counts five times at the bottom.
  const uint64_t wrapped = 5 * (d2 >> 2);
  sum = Uint128{static_cast<uint64_t>(d0)} + wrapped;
  state.h0 = static_cast<uint64_t>(sum);
  sum = Uint128{static_cast<uint64_t>(d1)} + static_cast<uint64_t>(sum >> 64);
  state.h1 = static_cast<uint64_t>(sum);
  state.h2 = (d2 & 3) + static_cast<uint64_t>(sum >> 64);
}

// The tag of h + s, for h below 2^131.
[[gnu::always_inline]] inline void poly_tag(uint64_t h0, uint64_t h1, uint64_t h2, const uint8_t* key, uint8_t* tag) {
  const Uint128 h = Uint128{h1} << 64 | h0;
  const Uint128 plus5 = h + 5;
  const uint64_t carry = plus5 < h;
  // All ones if h is 2^130 - 5 or more; then h + 5 - 2^130 is the rest.
  const uint64_t wraps = -(((h2 + carry) >> 2) & 1);
  const Uint128 mask = Uint128{wraps} << 64 | wraps;
  const Uint128 s = Uint128{load64(key + 24)} << 64 | load64(key + 16);
  const Uint128 sum = ((h & ~mask) | (plus5 & mask)) + s;
  __builtin_memcpy(tag, &sum, sizeof sum);
}

// The last, incomplete block of a message, padded: 1..15 bytes.
[[gnu::always_inline]] inline void load_rest(const uint8_t* from, uint32_t bytes, uint64_t (&block)[2]) {
  block[0] = block[1] = 0;
  __builtin_memcpy(block, from, bytes);
}

// The tag of one message.
[[gnu::noinline]] inline void mac_scalar(const MacInput& input, uint8_t* tag) {
  PolyState state;
  poly_begin(state, input.key);
  const uint8_t* at = input.source;
  for (uint64_t left = input.length / 16; left != 0; --left, at += 16) poly_block(state, load64(at), load64(at + 8));
  const uint32_t rest = static_cast<uint32_t>(input.length % 16);
  if (rest != 0) {
    uint64_t block[2];
    load_rest(at, rest, block);
    poly_block(state, block[0], block[1]);
  }
  poly_block(state, input.last[0], input.last[1]);
  poly_tag(state.h0, state.h1, state.h2, input.key, tag);
}

}  // namespace
}  // namespace culvert::crypto
