#include "crypto/siphash.h"

#include <gtest/gtest.h>

#include "tests/hex.h"

namespace culvert::crypto {
namespace {

using tests::counting_bytes;

std::span<const uint8_t, 16> first_16(const std::vector<uint8_t>& bytes) {
  return std::span<const uint8_t, 16>(bytes.data(), 16);
}

// Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A.
TEST(SipHash, GivesTheHashOfThePaper) {
  const auto key = counting_bytes(16);
  EXPECT_EQ(SipHash(first_16(key))(counting_bytes(15)), 0xa129ca6149be45e5U);
}

TEST(SipHash, DrawsAKeyOfItsOwn) {
  const auto input = counting_bytes(9);
  const SipHash a;
  const SipHash copy = a;
  EXPECT_EQ(a(input), copy(input));
  EXPECT_NE(a(input), SipHash()(input));
}

}  // namespace
}  // namespace culvert::crypto
