// The portable engine: libsodium, one message after another. It runs everywhere and is the yardstick of the
// tests.
#include <sodium.h>

#include <cstring>

#include "crypto/aead_engine.h"

namespace culvert::crypto {
namespace {

struct Nonce {
  uint8_t bytes[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {};

  explicit Nonce(uint64_t counter) {
    for (int i = 0; i < 8; ++i) bytes[4 + i] = static_cast<uint8_t>(counter >> 8 * i);
  }
};

bool supported(const CpuFeatures& /*features*/) {
  return true;
}

void seal(const SealMessage* batch, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const SealMessage& message = batch[i];
    const Nonce nonce(message.counter);
    crypto_aead_chacha20poly1305_ietf_encrypt(message.destination, nullptr, message.source, message.length, nullptr, 0,
                                              nullptr, nonce.bytes, message.key);
  }
}

size_t open(OpenMessage* batch, size_t count) {
  size_t authentic = 0;
  for (size_t i = 0; i < count; ++i) {
    OpenMessage& message = batch[i];
    const Nonce nonce(message.counter);
    message.authentic = crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                            message.destination, nullptr, message.source, message.length,
                            message.source + message.length, nullptr, 0, nonce.bytes, message.key) == 0;
    if (!message.authentic && message.length != 0) std::memset(message.destination, 0, message.length);
    authentic += message.authentic;
  }
  return authentic;
}

void poly1305(const Poly1305Message* batch, size_t count, int /*path*/) {
  for (size_t i = 0; i < count; ++i)
    crypto_onetimeauth_poly1305(batch[i].tag, batch[i].source, batch[i].length, batch[i].key);
}

}  // namespace

const Engine kPortableEngine{"portable", supported, seal, open, poly1305, 1};

}  // namespace culvert::crypto
