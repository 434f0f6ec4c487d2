#include "src/protocol/keys.h"

#include <gtest/gtest.h>

#include "tests/hex.h"

namespace culvert::protocol {
namespace {

using tests::from_hex_exactly;
using tests::to_hex;

// RFC 7748, section 6.1.
TEST(StaticIdentity, ClampsThePrivateKeyAndDerivesThePublicKey) {
  const StaticIdentity identity(
      PrivateKey(from_hex_exactly<32>("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")));
  EXPECT_TRUE(identity.exists());
  EXPECT_EQ(to_hex(identity.private_key().bytes()), "70076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c6a");
  EXPECT_EQ(to_hex(identity.public_key().bytes), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
}

TEST(StaticIdentity, DoesNotExistWithoutAKey) {
  EXPECT_FALSE(StaticIdentity().exists());
  const StaticIdentity zero{PrivateKey()};
  EXPECT_FALSE(zero.exists());
  EXPECT_TRUE(zero.public_key().is_zero());
  EXPECT_TRUE(zero.private_key().is_zero());
}

TEST(StaticIdentity, IsGoneOnceCleared) {
  StaticIdentity identity(PrivateKey(std::array<uint8_t, 32>{8}));
  identity.clear();
  EXPECT_FALSE(identity.exists());
  EXPECT_TRUE(identity.private_key().is_zero());
  EXPECT_TRUE(identity.public_key().is_zero());
}

}  // namespace
}  // namespace culvert::protocol
