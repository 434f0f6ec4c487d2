#include "crypto/xchacha20_poly1305.h"

#include <sodium.h>

#include <cassert>

#include "crypto/random.h"
#include "crypto/secret.h"

namespace culvert::crypto {

static_assert(kXAeadKeyBytes == crypto_aead_xchacha20poly1305_ietf_KEYBYTES);
static_assert(kXAeadNonceBytes == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
static_assert(kXAeadTagBytes == crypto_aead_xchacha20poly1305_ietf_ABYTES);

void xchacha20_poly1305_seal(std::span<uint8_t> out, std::span<const uint8_t, kXAeadKeyBytes> key,
                             std::span<const uint8_t, kXAeadNonceBytes> nonce, std::span<const uint8_t> plaintext,
                             std::span<const uint8_t> associated) {
  assert(out.size() == plaintext.size() + kXAeadTagBytes);
  prepare_sodium();
  crypto_aead_xchacha20poly1305_ietf_encrypt(out.data(), nullptr, plaintext.data(), plaintext.size(), associated.data(),
                                             associated.size(), nullptr, nonce.data(), key.data());
}

bool xchacha20_poly1305_open(std::span<uint8_t> out, std::span<const uint8_t, kXAeadKeyBytes> key,
                             std::span<const uint8_t, kXAeadNonceBytes> nonce, std::span<const uint8_t> sealed,
                             std::span<const uint8_t> associated) {
  prepare_sodium();
  const bool authentic =
      sealed.size() == out.size() + kXAeadTagBytes &&
      crypto_aead_xchacha20poly1305_ietf_decrypt(out.data(), nullptr, nullptr, sealed.data(), sealed.size(),
                                                 associated.data(), associated.size(), nonce.data(), key.data()) == 0;
  if (!authentic) wipe(out);
  return authentic;
}

}  // namespace culvert::crypto
