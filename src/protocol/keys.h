// The long-term keys: ours, a peer's, and the one shared in advance.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

#include "crypto/secret.h"

namespace culvert::protocol {

inline constexpr size_t kPublicKeyBytes = 32;
inline constexpr size_t kSymmetricKeyBytes = 32;

// A Curve25519 public key: a value without secrets, compared in variable time.
struct PublicKey {
  std::array<uint8_t, kPublicKeyBytes> bytes{};

  bool is_zero() const { return *this == PublicKey{}; }
  // clang-tidy 14 takes the 0 that a < b is compared with for a null pointer.
  // NOLINTNEXTLINE(modernize-use-nullptr)
  friend auto operator<=>(const PublicKey&, const PublicKey&) = default;
};

using PrivateKey = crypto::Secret<kPublicKeyBytes>;
// All zeros where no preshared key is set (paper section 5.2).
using SymmetricKey = crypto::Secret<kSymmetricKeyBytes>;

// Our own key pair, or none.
//
// Thread safety: none; the control thread owns it. Invariant: the private key is clamped and the public key
// is its own, or both are zero and exists() is false.
class StaticIdentity {
 public:
  StaticIdentity() = default;
  // Clamps the key. A zero key means no identity.
  explicit StaticIdentity(PrivateKey private_key);

  void clear();

  bool exists() const { return exists_; }
  const PrivateKey& private_key() const { return private_key_; }
  const PublicKey& public_key() const { return public_key_; }

 private:
  PrivateKey private_key_;
  PublicKey public_key_;
  bool exists_ = false;
};

}  // namespace culvert::protocol
