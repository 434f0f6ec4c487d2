// Bytes written as hexadecimal text, for test vectors.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace culvert::tests {

inline std::vector<uint8_t> from_hex(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  EXPECT_EQ(text.size() % 2, 0U);
  std::vector<uint8_t> bytes(text.size() / 2);
  for (size_t i = 0; i < 2 * bytes.size(); ++i) {
    const size_t digit = kDigits.find(text[i]);
    EXPECT_NE(digit, kDigits.npos);
    bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] << 4 | (digit & 0xf));
  }
  return bytes;
}

// The same for exactly N bytes.
template <size_t N>
std::array<uint8_t, N> from_hex_exactly(std::string_view text) {
  const std::vector<uint8_t> bytes = from_hex(text);
  EXPECT_EQ(bytes.size(), N);
  std::array<uint8_t, N> result{};
  std::copy_n(bytes.begin(), std::min(N, bytes.size()), result.begin());
  return result;
}

inline std::string to_hex(std::span<const uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

// The bytes first, first + 1, ...
inline std::vector<uint8_t> counting_bytes(size_t count, uint8_t first = 0) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = first++;
  return bytes;
}

}  // namespace culvert::tests
