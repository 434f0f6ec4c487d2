#include "crypto/xchacha20_poly1305.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tests/hex.h"

namespace culvert::crypto {
namespace {

using tests::counting_bytes;
using tests::from_hex;
using tests::from_hex_exactly;
using tests::to_hex;
using Bytes = std::vector<uint8_t>;
using Key = std::array<uint8_t, kXAeadKeyBytes>;
using Nonce = std::array<uint8_t, kXAeadNonceBytes>;

// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
constexpr std::string_view kPlaintext =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen "
    "would "
    "be it.";
constexpr std::string_view kAssociated = "50515253c0c1c2c3c4c5c6c7";
constexpr std::string_view kKey = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
constexpr std::string_view kNonce = "404142434445464748494a4b4c4d4e4f5051525354555657";
constexpr std::string_view kSealed =
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64"
    "c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c"
    "97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";

TEST(XChaCha20Poly1305, SealsAndOpensTheMessageOfTheDraft) {
  const auto key = from_hex_exactly<kXAeadKeyBytes>(kKey);
  const auto nonce = from_hex_exactly<kXAeadNonceBytes>(kNonce);
  const auto associated = from_hex(kAssociated);
  const Bytes plaintext(kPlaintext.begin(), kPlaintext.end());
  Bytes sealed(plaintext.size() + kXAeadTagBytes);
  xchacha20_poly1305_seal(sealed, key, nonce, plaintext, associated);
  EXPECT_EQ(to_hex(sealed), kSealed);
  Bytes opened(plaintext.size());
  EXPECT_TRUE(xchacha20_poly1305_open(opened, key, nonce, sealed, associated));
  EXPECT_EQ(opened, plaintext);
}

TEST(XChaCha20Poly1305, RefusesWhateverWasChangedAndLeavesZeros) {
  const Key key{1};
  const Nonce nonce{2};
  const Bytes associated = counting_bytes(16);
  Bytes sealed(16 + kXAeadTagBytes);
  xchacha20_poly1305_seal(sealed, key, nonce, counting_bytes(16), associated);
  const auto refused = [](const Key& k, const Nonce& n, const Bytes& message, const Bytes& ad, size_t length) {
    Bytes out(length, 0xff);
    return !xchacha20_poly1305_open(out, k, n, message, ad) && out == Bytes(length);
  };
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes changed = sealed;
    changed[i] ^= 1;
    EXPECT_TRUE(refused(key, nonce, changed, associated, 16)) << i;
  }
  EXPECT_TRUE(refused(Key{9}, nonce, sealed, associated, 16));
  EXPECT_TRUE(refused(key, Nonce{9}, sealed, associated, 16));
  EXPECT_TRUE(refused(key, nonce, sealed, counting_bytes(15), 16));
  EXPECT_TRUE(refused(key, nonce, sealed, associated, 15)) << "a length that does not match";
  EXPECT_TRUE(refused(key, nonce, counting_bytes(15), associated, 0)) << "shorter than a tag";
}

}  // namespace
}  // namespace culvert::crypto
