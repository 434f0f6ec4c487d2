// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), through libsodium: the Xaead of cookie replies (WireGuard
// paper section 5.4.7), whose 24-byte nonces are random.
//
// Thread safety: every function may be called from any thread at any time. No function allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace culvert::crypto {

inline constexpr size_t kXAeadKeyBytes = 32;
inline constexpr size_t kXAeadNonceBytes = 24;
inline constexpr size_t kXAeadTagBytes = 16;

// Seals `plaintext` into `out`, which is 16 bytes longer.
void xchacha20_poly1305_seal(std::span<uint8_t> out, std::span<const uint8_t, kXAeadKeyBytes> key,
                             std::span<const uint8_t, kXAeadNonceBytes> nonce, std::span<const uint8_t> plaintext,
                             std::span<const uint8_t> associated);

// Opens `sealed`, ciphertext and tag, into `out`, which is 16 bytes shorter. False, and `out` zero, when the
// tag is wrong or the lengths do not match.
[[nodiscard]] bool xchacha20_poly1305_open(std::span<uint8_t> out, std::span<const uint8_t, kXAeadKeyBytes> key,
                                           std::span<const uint8_t, kXAeadNonceBytes> nonce,
                                           std::span<const uint8_t> sealed, std::span<const uint8_t> associated);

}  // namespace culvert::crypto
