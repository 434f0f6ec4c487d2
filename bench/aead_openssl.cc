#include <openssl/evp.h>

#include <cstring>

#include "bench/aead_contender.h"

namespace culvert::bench {
namespace {

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

// Keeps two keyed contexts per key, one per direction, as a VPN would per keypair; a message costs setting
// the nonce, one update, the final call and one control call for the tag.
class Openssl final : public Contender {
 public:
  Openssl() : Contender("openssl") {
    const EVP_CIPHER* cipher = EVP_chacha20_poly1305();
    for (size_t i = 0; i < kKeyCount; ++i) {
      sealing_[i].reset(EVP_CIPHER_CTX_new());
      opening_[i].reset(EVP_CIPHER_CTX_new());
      EVP_EncryptInit_ex(sealing_[i].get(), cipher, nullptr, keys()[i].data(), nullptr);
      EVP_DecryptInit_ex(opening_[i].get(), cipher, nullptr, keys()[i].data(), nullptr);
    }
  }

  void seal(std::span<const crypto::SealMessage> batch) override {
    for (const crypto::SealMessage& m : batch) {
      EVP_CIPHER_CTX* context = sealing_[key_index(m.key)].get();
      const Nonce nonce = nonce_of(m.counter);
      uint8_t* tag = m.destination + m.length;
      int written = 0;
      EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data());
      EVP_EncryptUpdate(context, m.destination, &written, m.source, static_cast<int>(m.length));
      EVP_EncryptFinal_ex(context, tag, &written);
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, crypto::kAeadTagBytes, tag);
    }
  }

  size_t open(std::span<crypto::OpenMessage> batch) override {
    size_t authentic = 0;
    for (crypto::OpenMessage& m : batch) {
      EVP_CIPHER_CTX* context = opening_[key_index(m.key)].get();
      const Nonce nonce = nonce_of(m.counter);
      std::array<uint8_t, crypto::kAeadTagBytes> tag;
      std::memcpy(tag.data(), m.source + m.length, tag.size());
      int written = 0;
      EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data());
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, crypto::kAeadTagBytes, tag.data());
      EVP_DecryptUpdate(context, m.destination, &written, m.source, static_cast<int>(m.length));
      m.authentic = EVP_DecryptFinal_ex(context, tag.data(), &written) == 1;
      if (!m.authentic) std::memset(m.destination, 0, m.length);
      authentic += m.authentic;
    }
    return authentic;
  }

 private:
  std::array<Context, kKeyCount> sealing_;
  std::array<Context, kKeyCount> opening_;
};

}  // namespace

void add_openssl(Contenders& contenders) {
  contenders.push_back(std::make_unique<Openssl>());
}

}  // namespace culvert::bench
