// The implementations of ChaCha20-Poly1305 that aead_bench lets run against each other, all behind the batch
// interface of crypto/aead.h.
//
// Thread safety: none; a benchmark has one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "crypto/aead.h"

namespace culvert::bench {

inline constexpr size_t kKeyCount = 64;
inline constexpr size_t kMaxBatch = 128;

using Key = std::array<uint8_t, crypto::kAeadKeyBytes>;
using Keys = std::array<Key, kKeyCount>;
using Nonce = std::array<uint8_t, 12>;

// The keys of the process. Every message's `key` points at one of them, so that a contender can keep whatever
// it likes per key, as an implementation does per keypair.
[[nodiscard]] const Keys& keys();

// Which of keys() a message uses.
[[nodiscard]] inline size_t key_index(const uint8_t* key) {
  return static_cast<size_t>(key - keys().front().data()) / crypto::kAeadKeyBytes;
}

// The transport data nonce: 32 zero bits, then the counter, little-endian.
[[nodiscard]] Nonce nonce_of(uint64_t counter);

// One implementation. seal() and open() do what their namesakes of crypto/aead.h do, at most kMaxBatch
// messages at a time.
class Contender {
 public:
  explicit Contender(std::string name) : name_(std::move(name)) {}
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;
  virtual ~Contender() = default;

  [[nodiscard]] const std::string& name() const { return name_; }
  virtual void seal(std::span<const crypto::SealMessage> batch) = 0;
  virtual size_t open(std::span<crypto::OpenMessage> batch) = 0;

 private:
  std::string name_;
};

using Contenders = std::vector<std::unique_ptr<Contender>>;

// Each adds what the CPU can run: our engines as `culvert-ENGINE`, the libraries as `libsodium`, `openssl`
// and `ipsec-mb-ARCHITECTURE-INTERFACE`.
void add_culvert(Contenders& contenders);
void add_libsodium(Contenders& contenders);
void add_openssl(Contenders& contenders);
void add_ipsec_mb(Contenders& contenders);

}  // namespace culvert::bench
