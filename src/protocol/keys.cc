#include "src/protocol/keys.h"

#include <utility>

#include "crypto/x25519.h"

namespace culvert::protocol {

StaticIdentity::StaticIdentity(PrivateKey private_key) : private_key_(std::move(private_key)) {
  // Checked before clamping, which sets a bit.
  exists_ = !private_key_.is_zero();
  if (!exists_) return;
  crypto::clamp_x25519(private_key_);
  crypto::x25519_public_key(public_key_.bytes, private_key_);
}

void StaticIdentity::clear() {
  private_key_.wipe();
  public_key_ = {};
  exists_ = false;
}

}  // namespace culvert::protocol
