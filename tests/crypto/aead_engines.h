// What the AEAD tests share: running a test on every engine that this CPU has, and a second opinion from
// libsodium.
#pragma once

#include <gtest/gtest.h>
#include <sodium.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "crypto/aead_engine.h"

namespace culvert::crypto {

using Bytes = std::vector<uint8_t>;

inline std::string engine_case_name(const testing::TestParamInfo<const Engine*>& info) {
  return info.param->name;
}

// Runs every TEST_P of `suite` once per engine.
#define CULVERT_ON_EVERY_ENGINE(suite) \
  INSTANTIATE_TEST_SUITE_P(EveryEngine, suite, testing::ValuesIn(engines()), engine_case_name)

inline Bytes from_hex(std::string_view hex) {
  Bytes bytes(hex.size() / 2);
  size_t length = 0;
  EXPECT_EQ(sodium_hex2bin(bytes.data(), bytes.size(), hex.data(), hex.size(), " ", &length, nullptr), 0);
  bytes.resize(length);
  return bytes;
}

// `source` sealed by libsodium: ciphertext and tag.
inline Bytes reference_seal(const uint8_t* key, uint64_t counter, std::span<const uint8_t> source) {
  uint8_t nonce[12] = {};
  for (int i = 0; i < 8; ++i) nonce[4 + i] = static_cast<uint8_t>(counter >> 8 * i);
  Bytes sealed(source.size() + kAeadTagBytes);
  crypto_aead_chacha20poly1305_ietf_encrypt(sealed.data(), nullptr, source.data(), source.size(), nullptr, 0, nullptr,
                                            nonce, key);
  return sealed;
}

}  // namespace culvert::crypto
