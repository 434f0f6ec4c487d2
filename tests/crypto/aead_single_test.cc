#include "crypto/aead_single.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/hex.h"

namespace culvert::crypto {
namespace {

using tests::counting_bytes;
using tests::from_hex;
using tests::from_hex_exactly;
using tests::to_hex;
using Bytes = std::vector<uint8_t>;
using Key = Secret<kAeadKeyBytes>;

// RFC 8439, appendix A.5, whose nonce 00000000 01..08 is the counter 0x0807060504030201.
TEST(AeadSingle, OpensTheMessageOfRfc8439AppendixA5) {
  const Key key(from_hex_exactly<32>("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"));
  const Bytes associated = from_hex("f33388860000000000004e91");
  const Bytes sealed = from_hex(
      "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b7"
      "3c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0"
      "ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee2"
      "82a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd6"
      "3159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c"
      "29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38");
  Bytes opened(sealed.size() - kAeadTagBytes);
  ASSERT_TRUE(open_single(opened, key, 0x0807060504030201, sealed, associated));
  EXPECT_EQ(std::string(opened.begin(), opened.begin() + 32), "Internet-Drafts are draft docume");
  Bytes sealed_again(sealed.size());
  seal_single(sealed_again, key, 0x0807060504030201, opened, associated);
  EXPECT_EQ(to_hex(sealed_again), to_hex(sealed));
}

TEST(AeadSingle, RefusesWhateverWasChangedAndLeavesZeros) {
  const Key key(std::array<uint8_t, 32>{1});
  const Bytes associated = counting_bytes(32);
  Bytes sealed(12 + kAeadTagBytes);
  seal_single(sealed, key, 0, counting_bytes(12), associated);
  const auto refused = [](const Key& k, uint64_t counter, const Bytes& message, const Bytes& ad, size_t length) {
    Bytes out(length, 0xff);
    return !open_single(out, k, counter, message, ad) && out == Bytes(length);
  };
  EXPECT_FALSE(refused(key, 0, sealed, associated, 12));
  for (size_t i = 0; i < sealed.size(); ++i) {
    Bytes changed = sealed;
    changed[i] ^= 0x80;
    EXPECT_TRUE(refused(key, 0, changed, associated, 12)) << i;
  }
  EXPECT_TRUE(refused(Key(), 0, sealed, associated, 12));
  EXPECT_TRUE(refused(key, 1, sealed, associated, 12));
  EXPECT_TRUE(refused(key, 0, sealed, counting_bytes(31), 12));
  EXPECT_TRUE(refused(key, 0, sealed, associated, 11)) << "a length that does not match";
  EXPECT_TRUE(refused(key, 0, counting_bytes(15), associated, 0)) << "shorter than a tag";
}

TEST(AeadSingle, SealsNothingToATagAlone) {
  const Key key(std::array<uint8_t, 32>{1});
  Bytes tag(kAeadTagBytes);
  seal_single(tag, key, 0, {}, counting_bytes(32));
  EXPECT_TRUE(open_single({}, key, 0, tag, counting_bytes(32)));
  EXPECT_FALSE(open_single({}, key, 0, tag, counting_bytes(31)));
}

}  // namespace
}  // namespace culvert::crypto
