#include "crypto/blake2s.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "tests/hex.h"

namespace culvert::crypto {
namespace {

using tests::counting_bytes;
using tests::to_hex;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

struct HashCase {
  const char* name;
  size_t key_bytes;  // 00 01 02 ...
  size_t input_bytes;
  size_t output_bytes;
  std::string_view expected;
};

constexpr HashCase kHashCases[] = {
    {"nothing", 0, 0, 32, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9"},
    {"many blocks", 0, 256, 32, "5fdeb59f681d975f52c8e69c5502e02a12a3afcc5836ba58f42784c439228781"},
    {"nothing under a key", 32, 0, 32, "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"},
    {"many blocks under a key", 32, 255, 32, "3fb735061abc519dfe979e54c1ee5bfad0a9d858b3315bad34bde999efd724dd"},
    {"short key and short output", 16, 65, 16, "9018c671bb7e94a6d540a91765bbecad"},
};

TEST(Blake2s, GivesTheHashOfRfc7693AppendixB) {
  EXPECT_EQ(to_hex(blake2s({bytes_of("abc")})), "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
}

TEST(Blake2s, GivesKnownHashesWhateverTheLengths) {
  for (const HashCase& c : kHashCases) {
    SCOPED_TRACE(c.name);
    const auto key = counting_bytes(c.key_bytes);
    const auto input = counting_bytes(c.input_bytes);
    std::vector<uint8_t> out(c.output_bytes);
    blake2s_keyed(out, key, {input});
    EXPECT_EQ(to_hex(out), c.expected);
  }
}

TEST(Blake2s, HashesPartsAsIfTheyStoodBehindOneAnother) {
  const auto whole = counting_bytes(200);
  const std::span<const uint8_t> bytes(whole);
  for (size_t cut = 0; cut <= whole.size(); ++cut)
    EXPECT_EQ(blake2s({bytes.first(cut), {}, bytes.subspan(cut)}), blake2s({bytes})) << cut;
}

// RFC 7693 appendix E: the bytes of a Fibonacci-like generator.
std::vector<uint8_t> self_test_sequence(size_t length, uint32_t seed) {
  std::vector<uint8_t> bytes(length);
  uint32_t a = 0xdead4bad * seed;
  uint32_t b = 1;
  for (uint8_t& byte : bytes) {
    const uint32_t t = a + b;
    a = b;
    b = t;
    byte = static_cast<uint8_t>(t >> 24);
  }
  return bytes;
}

TEST(Blake2s, PassesTheSelfTestOfRfc7693AppendixE) {
  std::vector<uint8_t> all;
  for (const size_t output_bytes : {16, 20, 28, 32}) {
    for (const size_t input_bytes : {0, 3, 64, 65, 255, 1024}) {
      std::vector<uint8_t> out(output_bytes);
      const auto input = self_test_sequence(input_bytes, static_cast<uint32_t>(input_bytes));
      blake2s(out, {input});
      all.insert(all.end(), out.begin(), out.end());
      blake2s_keyed(out, self_test_sequence(output_bytes, static_cast<uint32_t>(output_bytes)), {input});
      all.insert(all.end(), out.begin(), out.end());
    }
  }
  EXPECT_EQ(to_hex(blake2s({all})), "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
}

struct HmacCase {
  const char* name;
  size_t key_bytes;
  std::vector<uint8_t> input;
  std::string_view expected;
};

// From Python's hmac and hashlib.
TEST(HmacBlake2s, GivesKnownCodesWhateverTheKeyLength) {
  const std::vector<uint8_t> abc = {'a', 'b', 'c'};
  const HmacCase cases[] = {
      {"empty key", 0, {}, "eaf4bb25938f4d20e72656bbbc7a9bf63c0c18537333c35bdb67db1402661acd"},
      {"key of a hash", 32, abc, "82623be5bc0a391b24dce53e67d028eff92d586de0485ac37822e597d049c74f"},
      {"key of a block", 64, abc, "3a0ef09eac123871fb79852ec512086d013abff437bd68ca03630932bd6ba81f"},
      {"key longer than a block", 100, counting_bytes(200),
       "c4c95271905c6f69c1dd7c6fbc0cb3735457a660ccc2c4370f28825e7abef5af"},
  };
  for (const HmacCase& c : cases) {
    SCOPED_TRACE(c.name);
    Hash out;
    hmac_blake2s(out, counting_bytes(c.key_bytes), {c.input});
    EXPECT_EQ(to_hex(out), c.expected);
  }
}

constexpr std::string_view kKdf1 = "87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040";
constexpr std::string_view kKdf2 = "538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824";
constexpr std::string_view kKdf3 = "9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9";

class Kdf : public testing::Test {
 protected:
  Secret<32> chaining_key_{std::span<const uint8_t, 32>(counting_bytes(32))};
  Secret<32> a_, b_, c_;
};

TEST_F(Kdf, GivesAsManyOutputsAsAskedFor) {
  kdf1(chaining_key_.bytes(), bytes_of("input"), a_);
  EXPECT_EQ(to_hex(a_.bytes()), kKdf1);
  kdf2(chaining_key_.bytes(), bytes_of("input"), a_, b_);
  EXPECT_EQ(to_hex(a_.bytes()), kKdf1);
  EXPECT_EQ(to_hex(b_.bytes()), kKdf2);
  kdf3(chaining_key_.bytes(), bytes_of("input"), a_, b_, c_);
  EXPECT_EQ(to_hex(a_.bytes()), kKdf1);
  EXPECT_EQ(to_hex(b_.bytes()), kKdf2);
  EXPECT_EQ(to_hex(c_.bytes()), kKdf3);
}

TEST_F(Kdf, MayOverwriteTheChainingKey) {
  kdf3(chaining_key_.bytes(), bytes_of("input"), chaining_key_, b_, c_);
  EXPECT_EQ(to_hex(chaining_key_.bytes()), kKdf1);
  EXPECT_EQ(to_hex(b_.bytes()), kKdf2);
  EXPECT_EQ(to_hex(c_.bytes()), kKdf3);
}

}  // namespace
}  // namespace culvert::crypto
