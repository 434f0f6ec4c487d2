// Every Poly1305 path of every engine against libsodium, at the values where carries and reductions go wrong.
#include <algorithm>
#include <cstring>
#include <random>

#include "tests/crypto/aead_engines.h"

namespace culvert::crypto {
namespace {

__extension__ using Uint128 = unsigned __int128;

struct Input {
  Bytes key;
  Bytes source;
  Bytes tag = Bytes(kAeadTagBytes);
};

Bytes key_of(const Bytes& r, uint8_t s) {
  Bytes key = r;
  key.resize(32, s);
  return key;
}

// Tags of all inputs by one call, in batches of `batch`, on every path.
void expect_tags(const Engine& engine, std::vector<Input>& inputs, size_t batch, const char* what) {
  for (int path = 0; path < engine.poly1305_paths; ++path) {
    std::vector<Poly1305Message> messages;
    messages.reserve(inputs.size());
    for (Input& input : inputs) {
      messages.push_back(
          {input.key.data(), input.source.data(), static_cast<uint32_t>(input.source.size()), input.tag.data()});
    }
    for (size_t first = 0; first < messages.size(); first += batch)
      engine.poly1305(messages.data() + first, std::min(batch, messages.size() - first), path);
    for (const Input& input : inputs) {
      Bytes expected(kAeadTagBytes);
      crypto_onetimeauth_poly1305(expected.data(), input.source.data(), input.source.size(), input.key.data());
      ASSERT_TRUE(input.tag == expected) << what << ", " << input.source.size() << " bytes, path " << path;
    }
  }
}

// Values of r: the largest after clamping, the smallest, and those that set one limb or its edges.
std::vector<Bytes> extreme_r() {
  std::vector<Bytes> values = {Bytes(16, 0xff), Bytes(16, 0), Bytes(16, 0x80)};
  for (const int byte : {0, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15}) {
    for (const uint8_t value : {0x01, 0x0f, 0xfc, 0xff}) {
      values.emplace_back(16);
      values.back()[static_cast<size_t>(byte)] = value;
    }
  }
  return values;
}

class AeadPoly1305 : public testing::TestWithParam<const Engine*> {};

TEST_P(AeadPoly1305, ExtremeFactorsOverBlocksOfAllOnesAndZerosGiveLibsodiumsTags) {
  for (const uint8_t fill : {0xff, 0x00, 0xfb}) {
    std::vector<Input> inputs;
    for (const Bytes& r : extreme_r())
      for (const size_t blocks : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 33, 41, 90, 558})
        inputs.push_back({key_of(r, static_cast<uint8_t>(~fill)), Bytes(16 * blocks, fill)});
    expect_tags(*GetParam(), inputs, 5, "mixed lengths in every batch");
    std::stable_sort(inputs.begin(), inputs.end(),
                     [](const Input& a, const Input& b) { return a.source.size() < b.source.size(); });
    expect_tags(*GetParam(), inputs, 8, "mostly equal lengths in every batch");
    if (HasFatalFailure()) return;
  }
}

// With r = 1 the accumulator is the sum of the blocks, so the last block brings it wherever we like: around multiples
// of 2^128, of which the fourth is 2^130, and so around the prime 2^130 - 5.
TEST_P(AeadPoly1305, AccumulatorsNextToThePrimeReduceExactly) {
  std::mt19937_64 random{7};
  std::vector<Input> inputs;
  Bytes one(16);
  one[0] = 1;
  for (const size_t blocks : {2, 3, 4, 5, 8, 9, 16, 17, 24, 40}) {
    for (int distance = -12; distance <= 12; ++distance) {
      Bytes source(16 * blocks);
      Uint128 sum = 0;
      for (size_t block = 0; block + 1 < blocks; ++block) {
        Uint128 value = random() % 4 == 0 ? ~Uint128{0} : Uint128{random()} << 64 | random();
        std::memcpy(source.data() + 16 * block, &value, 16);
        sum += value;
      }
      const Uint128 last = static_cast<Uint128>(distance) - 5 - sum;
      std::memcpy(source.data() + 16 * (blocks - 1), &last, 16);
      inputs.push_back({key_of(one, distance % 2 == 0 ? 0 : 0xff), source});
    }
  }
  for (const size_t batch : {1, 3, 8}) {
    expect_tags(*GetParam(), inputs, batch, "next to the prime");
    if (HasFatalFailure()) return;
  }
}

TEST_P(AeadPoly1305, RandomKeysAndBlocksGiveLibsodiumsTags) {
  std::mt19937_64 random{8};
  std::vector<Input> inputs;
  for (int i = 0; i < 2000; ++i) {
    Input input{Bytes(32), Bytes(16 * (1 + random() % 60))};
    randombytes_buf(input.key.data(), input.key.size());
    randombytes_buf(input.source.data(), input.source.size());
    // Runs of ones make long carries.
    for (int run = 0; run < 3; ++run)
      std::memset(input.source.data() + 16 * (random() % (input.source.size() / 16)), 0xff, 16);
    inputs.push_back(std::move(input));
  }
  expect_tags(*GetParam(), inputs, 11, "random");
}

CULVERT_ON_EVERY_ENGINE(AeadPoly1305);

}  // namespace
}  // namespace culvert::crypto
