// X25519 (RFC 7748), through libsodium.
//
// Thread safety: every function may be called from any thread at any time. No function allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/secret.h"

namespace culvert::crypto {

inline constexpr size_t kX25519Bytes = 32;

// Clears and sets the bits of a private key that RFC 7748 section 5 fixes.
void clamp_x25519(Secret<kX25519Bytes>& private_key);

// A fresh, clamped private key.
[[nodiscard]] Secret<kX25519Bytes> generate_x25519_private_key();

// The public key of a private key.
void x25519_public_key(std::span<uint8_t, kX25519Bytes> public_key, const Secret<kX25519Bytes>& private_key);

// The shared secret. False, and `shared` zero, when the point is of low order and the result would be zero
// whatever the private key: such a peer must be refused (RFC 7748 section 6.1).
[[nodiscard]] bool x25519(Secret<kX25519Bytes>& shared, const Secret<kX25519Bytes>& private_key,
                          std::span<const uint8_t, kX25519Bytes> public_key);

}  // namespace culvert::crypto
