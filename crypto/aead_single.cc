#include "crypto/aead_single.h"

#include <sodium.h>

#include <array>
#include <cassert>

#include "crypto/random.h"

namespace culvert::crypto {
namespace {

using Nonce = std::array<uint8_t, crypto_aead_chacha20poly1305_ietf_NPUBBYTES>;

Nonce make_nonce(uint64_t counter) {
  Nonce nonce{};
  for (size_t i = 0; i < sizeof(counter); ++i) nonce[4 + i] = static_cast<uint8_t>(counter >> (8 * i));
  return nonce;
}

}  // namespace

void seal_single(std::span<uint8_t> out, const Secret<kAeadKeyBytes>& key, uint64_t counter,
                 std::span<const uint8_t> plaintext, std::span<const uint8_t> associated) {
  assert(out.size() == plaintext.size() + kAeadTagBytes);
  prepare_sodium();
  crypto_aead_chacha20poly1305_ietf_encrypt(out.data(), nullptr, plaintext.data(), plaintext.size(), associated.data(),
                                            associated.size(), nullptr, make_nonce(counter).data(), key.data());
}

bool open_single(std::span<uint8_t> out, const Secret<kAeadKeyBytes>& key, uint64_t counter,
                 std::span<const uint8_t> sealed, std::span<const uint8_t> associated) {
  prepare_sodium();
  const bool authentic = sealed.size() == out.size() + kAeadTagBytes &&
                         crypto_aead_chacha20poly1305_ietf_decrypt(out.data(), nullptr, nullptr, sealed.data(),
                                                                   sealed.size(), associated.data(), associated.size(),
                                                                   make_nonce(counter).data(), key.data()) == 0;
  if (!authentic) wipe(out);
  return authentic;
}

}  // namespace culvert::crypto
