#include "crypto/x25519.h"

#include <sodium.h>

#include "crypto/random.h"

namespace culvert::crypto {

namespace {

// libsodium leaves the scalar on the stack, some hundred bytes below ours.
constexpr size_t kStackBytes = 4096;

}  // namespace

void clamp_x25519(Secret<kX25519Bytes>& private_key) {
  uint8_t* bytes = private_key.data();
  bytes[0] &= 0xf8;
  bytes[31] = (bytes[31] & 0x7f) | 0x40;
}

Secret<kX25519Bytes> generate_x25519_private_key() {
  Secret<kX25519Bytes> key;
  fill_random(key.bytes());
  clamp_x25519(key);
  return key;
}

void x25519_public_key(std::span<uint8_t, kX25519Bytes> public_key, const Secret<kX25519Bytes>& private_key) {
  prepare_sodium();
  crypto_scalarmult_curve25519_base(public_key.data(), private_key.data());
  sodium_stackzero(kStackBytes);
}

bool x25519(Secret<kX25519Bytes>& shared, const Secret<kX25519Bytes>& private_key,
            std::span<const uint8_t, kX25519Bytes> public_key) {
  prepare_sodium();
  const bool computed = crypto_scalarmult_curve25519(shared.data(), private_key.data(), public_key.data()) == 0;
  sodium_stackzero(kStackBytes);
  // libsodium leaves `shared` as it was when it recognizes a low-order point.
  if (!computed) shared.wipe();
  return computed && !shared.is_zero();
}

}  // namespace culvert::crypto
