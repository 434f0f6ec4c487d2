// Batched ChaCha20-Poly1305 for transport data (RFC 8439 section 2.8; WireGuard paper section 5.4.6): the nonce
// is 32 zero bits and the 64-bit little-endian counter, and there is no associated data. A batch mixes lengths,
// keys and counters freely; each message stands for itself.
//
// Thread safety: every function may be called from any thread at any time. No function allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace culvert::crypto {

inline constexpr size_t kAeadKeyBytes = 32;
inline constexpr size_t kAeadTagBytes = 16;
inline constexpr size_t kMaxAeadMessageBytes = 65535;

// One message to seal: `length` plaintext bytes at `source` become `length` + 16 bytes at `destination`.
// The ranges are either identical at their start (in place) or do not overlap.
struct SealMessage {
  const uint8_t* key;  // 32 bytes
  uint64_t counter;
  const uint8_t* source;
  uint8_t* destination;
  uint32_t length;  // plaintext bytes, 0..65535
};

// One message to open: `length` ciphertext bytes and the 16-byte tag behind them at `source` become `length`
// bytes at `destination`. A message whose tag is wrong has its destination zeroed and `authentic` false.
struct OpenMessage {
  const uint8_t* key;  // 32 bytes
  uint64_t counter;
  const uint8_t* source;
  uint8_t* destination;
  uint32_t length;  // ciphertext bytes without the tag, 0..65535
  bool authentic;   // out
};

// Seals every message of the batch.
void seal(std::span<const SealMessage> batch);

// Opens every message of the batch and sets each one's verdict. Returns how many were authentic.
size_t open(std::span<OpenMessage> batch);

}  // namespace culvert::crypto
