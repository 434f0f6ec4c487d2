#include "crypto/x25519.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "tests/hex.h"

namespace culvert::crypto {
namespace {

using tests::from_hex_exactly;
using tests::to_hex;

using Point = std::array<uint8_t, kX25519Bytes>;

Secret<32> secret(std::string_view hex) {
  return Secret<32>(from_hex_exactly<32>(hex));
}

struct SharedCase {
  const char* name;
  std::string_view private_key;
  std::string_view public_key;
  std::string_view shared;
};

// RFC 7748, sections 5.2 and 6.1.
constexpr SharedCase kSharedCases[] = {
    {"the first vector of section 5.2", "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
     "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
     "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
    {"the second, with a top bit to ignore", "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
     "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
     "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
    {"Alice's key with Bob's", "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
     "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
     "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
    {"Bob's key with Alice's", "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
     "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
     "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
};

TEST(X25519, GivesTheSharedSecretsOfRfc7748) {
  for (const SharedCase& c : kSharedCases) {
    SCOPED_TRACE(c.name);
    Secret<32> shared;
    ASSERT_TRUE(x25519(shared, secret(c.private_key), from_hex_exactly<32>(c.public_key)));
    EXPECT_EQ(to_hex(shared.bytes()), c.shared);
  }
}

TEST(X25519, GivesThePublicKeysOfRfc7748) {
  Point public_key;
  x25519_public_key(public_key, secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
  EXPECT_EQ(to_hex(public_key), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  x25519_public_key(public_key, secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
  EXPECT_EQ(to_hex(public_key), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
}

TEST(X25519, GivesTheIteratedResultsOfRfc7748) {
  Point u{9};
  Secret<32> k(u);
  for (int i = 1; i <= 1000; ++i) {
    Secret<32> shared;
    ASSERT_TRUE(x25519(shared, k, u));
    std::copy_n(k.data(), k.size(), u.begin());
    k = std::move(shared);
    if (i == 1) EXPECT_EQ(to_hex(k.bytes()), "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
  }
  EXPECT_EQ(to_hex(k.bytes()), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

// Every encoding of a point of order 1, 2, 4 or 8, on the curve or its twist.
constexpr std::string_view kLowOrderPoints[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

TEST(X25519, RefusesPointsOfLowOrderAndLeavesZeros) {
  const auto private_key = generate_x25519_private_key();
  for (const std::string_view text : kLowOrderPoints) {
    for (const uint8_t top_bit : {0x00, 0x80}) {
      Point point = from_hex_exactly<32>(text);
      point[31] |= top_bit;
      SCOPED_TRACE(to_hex(point));
      Secret<32> shared = private_key.clone();
      EXPECT_FALSE(x25519(shared, private_key, point));
      EXPECT_TRUE(shared.is_zero());
    }
  }
}

TEST(X25519, ClampsTheBitsThatTheRfcFixes) {
  Secret<32> ones = secret("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff");
  clamp_x25519(ones);
  EXPECT_EQ(to_hex(ones.bytes()), "f8ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
  Secret<32> zeros;
  clamp_x25519(zeros);
  EXPECT_EQ(to_hex(zeros.bytes()), "0000000000000000000000000000000000000000000000000000000000000040");
}

TEST(X25519, GeneratesPrivateKeysThatDifferAndAreClamped) {
  const auto a = generate_x25519_private_key();
  const auto b = generate_x25519_private_key();
  EXPECT_FALSE(a == b);
  auto clamped = a.clone();
  clamp_x25519(clamped);
  EXPECT_TRUE(a == clamped);
}

}  // namespace
}  // namespace culvert::crypto
