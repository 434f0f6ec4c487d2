// BLAKE2s (RFC 7693), through libb2, and what the WireGuard paper (section 5.4) builds on it: Hash, Mac, Hmac
// and Kdf.
//
// Inputs are lists of parts, hashed as if they stood behind one another.
//
// Thread safety: every function may be called from any thread at any time. No function allocates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "crypto/secret.h"

namespace culvert::crypto {

inline constexpr size_t kHashBytes = 32;
inline constexpr size_t kBlake2sBlockBytes = 64;

using Hash = std::array<uint8_t, kHashBytes>;
using Parts = std::initializer_list<std::span<const uint8_t>>;

// Hash(): the unkeyed hash of 32 bytes.
[[nodiscard]] Hash blake2s(Parts parts);

// Unkeyed, with an output of 1..32 bytes; the length is part of the hash.
void blake2s(std::span<uint8_t> out, Parts parts);

// Mac(): keyed with 1..32 bytes, with an output of 1..32 bytes (16 for mac1, mac2 and cookies).
void blake2s_keyed(std::span<uint8_t> out, std::span<const uint8_t> key, Parts parts);

// Hmac(): RFC 2104 over BLAKE2s, with a key of any length.
void hmac_blake2s(std::span<uint8_t, kHashBytes> out, std::span<const uint8_t> key, Parts parts);

// Kdf1..Kdf3: HKDF (RFC 5869) with the chaining key as salt. `chaining_key` may be one of the outputs.
void kdf1(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input, Secret<kHashBytes>& out1);
void kdf2(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input, Secret<kHashBytes>& out1,
          Secret<kHashBytes>& out2);
void kdf3(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input, Secret<kHashBytes>& out1,
          Secret<kHashBytes>& out2, Secret<kHashBytes>& out3);

}  // namespace culvert::crypto
