// ChaCha20-Poly1305 (RFC 8439) for one message with associated data, as handshake messages use it
// (WireGuard paper section 5.4: Aead): the nonce is 32 zero bits and the little-endian counter. Transport
// data goes through the batches of crypto/aead.h.
//
// Thread safety: every function may be called from any thread at any time. No function allocates.
#pragma once

#include <cstdint>
#include <span>

#include "crypto/aead.h"
#include "crypto/secret.h"

namespace culvert::crypto {

// Seals `plaintext` into `out`, which is 16 bytes longer.
void seal_single(std::span<uint8_t> out, const Secret<kAeadKeyBytes>& key, uint64_t counter,
                 std::span<const uint8_t> plaintext, std::span<const uint8_t> associated);

// Opens `sealed`, ciphertext and tag, into `out`, which is 16 bytes shorter. False, and `out` zero, when the
// tag is wrong or the lengths do not match.
[[nodiscard]] bool open_single(std::span<uint8_t> out, const Secret<kAeadKeyBytes>& key, uint64_t counter,
                               std::span<const uint8_t> sealed, std::span<const uint8_t> associated);

}  // namespace culvert::crypto
