#include <sodium.h>

#include "bench/aead_contender.h"

namespace culvert::bench {
namespace {

class Libsodium final : public Contender {
 public:
  Libsodium() : Contender("libsodium") {}

  void seal(std::span<const crypto::SealMessage> batch) override {
    for (const crypto::SealMessage& m : batch) {
      const Nonce nonce = nonce_of(m.counter);
      crypto_aead_chacha20poly1305_ietf_encrypt(m.destination, nullptr, m.source, m.length, nullptr, 0, nullptr,
                                                nonce.data(), m.key);
    }
  }

  size_t open(std::span<crypto::OpenMessage> batch) override {
    size_t authentic = 0;
    for (crypto::OpenMessage& m : batch) {
      const Nonce nonce = nonce_of(m.counter);
      m.authentic = crypto_aead_chacha20poly1305_ietf_decrypt(m.destination, nullptr, nullptr, m.source,
                                                              m.length + crypto::kAeadTagBytes, nullptr, 0,
                                                              nonce.data(), m.key) == 0;
      authentic += m.authentic;
    }
    return authentic;
  }
};

}  // namespace

void add_libsodium(Contenders& contenders) {
  if (sodium_init() < 0) return;
  contenders.push_back(std::make_unique<Libsodium>());
}

}  // namespace culvert::bench
