// Project Wycheproof's vectors, which aim at the mistakes that implementations make. The JSON files are found in the
// directory that the environment variable CULVERT_VECTORS names, or the CMake variable of that name.
#include <gtest/gtest.h>
#include <sodium.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "crypto/aead_engine.h"
#include "crypto/x25519.h"
#include "crypto/xchacha20_poly1305.h"
#include "tests/crypto/aead_engines.h"
#include "tests/hex.h"

namespace culvert::crypto {
namespace {

using nlohmann::json;

// One file's vectors of all groups; empty if the file is not there.
std::vector<json> load_vectors(const std::string& file) {
  const char* directory = std::getenv("CULVERT_VECTORS");
  std::ifstream stream((directory != nullptr ? directory : CULVERT_VECTORS) + ("/" + file));
  std::vector<json> vectors;
  if (!stream) return vectors;
  const json document = json::parse(stream);
  for (const json& group : document.at("testGroups")) {
    for (json vector : group.at("tests")) {
      vector["ivSize"] = group.value("ivSize", 0);
      vectors.push_back(std::move(vector));
    }
  }
  return vectors;
}

Bytes bytes_of(const json& vector, const char* field) {
  return tests::from_hex(vector.at(field).get<std::string>());
}

std::string name_of(const json& vector) {
  return "test " + vector.at("tcId").dump() + ", " + vector.at("comment").get<std::string>();
}

#define CULVERT_LOAD_OR_SKIP(vectors, file)                                                               \
  const std::vector<json> vectors = load_vectors(file);                                                   \
  if ((vectors).empty())                                                                                  \
  GTEST_SKIP() << (file)                                                                                  \
               << " is missing: take it from testvectors_v1/ of the repository C2SP/wycheproof, and set " \
                  "CULVERT_VECTORS to the directory that holds it"

void append_padded(Bytes& to, const Bytes& from) {
  to.insert(to.end(), from.begin(), from.end());
  to.resize((to.size() + 15) / 16 * 16);
}

void append_length(Bytes& to, uint64_t length) {
  for (int i = 0; i < 8; ++i) to.push_back(static_cast<uint8_t>(length >> 8 * i));
}

class WycheproofAead : public testing::TestWithParam<const Engine*> {};

// Our nonces begin with four zero bytes and there is no associated data, so the vectors cannot go through seal(). But
// they aim at Poly1305, and that can have all of it: block 0 for its key comes from libsodium.
TEST_P(WycheproofAead, EveryPoly1305PathGivesTheTags) {
  CULVERT_LOAD_OR_SKIP(vectors, "chacha20_poly1305_test.json");
  int used = 0;
  for (const json& vector : vectors) {
    if (vector.at("ivSize") != 96) continue;
    ++used;
    const Bytes key = bytes_of(vector, "key");
    const Bytes nonce = bytes_of(vector, "iv");
    const Bytes associated = bytes_of(vector, "aad");
    const Bytes ciphertext = bytes_of(vector, "ct");
    Bytes mac_key(32);
    crypto_stream_chacha20_ietf(mac_key.data(), mac_key.size(), nonce.data(), key.data());
    Bytes input;
    append_padded(input, associated);
    append_padded(input, ciphertext);
    append_length(input, associated.size());
    append_length(input, ciphertext.size());
    for (int path = 0; path < GetParam()->poly1305_paths; ++path) {
      Bytes tag(kAeadTagBytes);
      const Poly1305Message message{mac_key.data(), input.data(), static_cast<uint32_t>(input.size()), tag.data()};
      GetParam()->poly1305(&message, 1, path);
      EXPECT_EQ(tag == bytes_of(vector, "tag"), vector.at("result") == "valid") << name_of(vector) << ", path " << path;
    }
  }
  EXPECT_GT(used, 200);
}

// And their keys, texts and counters with nonces like ours, one by one and as one batch, against libsodium.
TEST_P(WycheproofAead, TheirKeysAndTextsSealLikeLibsodiumAndOpenAgain) {
  CULVERT_LOAD_OR_SKIP(vectors, "chacha20_poly1305_test.json");
  std::vector<Bytes> keys, texts, sealed;
  std::vector<SealMessage> sealing;
  for (const json& vector : vectors) {
    if (vector.at("ivSize") != 96) continue;
    keys.push_back(bytes_of(vector, "key"));
    texts.push_back(bytes_of(vector, "msg"));
    sealed.emplace_back(texts.back().size() + kAeadTagBytes);
    uint64_t counter = 0;
    std::memcpy(&counter, bytes_of(vector, "iv").data() + 4, sizeof counter);
    sealing.push_back({keys.back().data(), counter, texts.back().data(), sealed.back().data(),
                       static_cast<uint32_t>(texts.back().size())});
  }
  for (const size_t batch : {size_t{1}, size_t{7}, sealing.size()}) {
    for (size_t first = 0; first < sealing.size(); first += batch)
      GetParam()->seal(sealing.data() + first, std::min(batch, sealing.size() - first));
    std::vector<OpenMessage> opening;
    for (size_t i = 0; i < sealing.size(); ++i) {
      ASSERT_EQ(sealed[i], reference_seal(keys[i].data(), sealing[i].counter, texts[i])) << "batch " << batch;
      opening.push_back(
          {keys[i].data(), sealing[i].counter, sealed[i].data(), sealed[i].data(), sealing[i].length, false});
    }
    for (size_t first = 0; first < opening.size(); first += batch) {
      const size_t count = std::min(batch, opening.size() - first);
      ASSERT_EQ(GetParam()->open(opening.data() + first, count), count);
    }
    for (size_t i = 0; i < texts.size(); ++i)
      ASSERT_TRUE(std::equal(texts[i].begin(), texts[i].end(), sealed[i].begin())) << "batch " << batch;
  }
}

CULVERT_ON_EVERY_ENGINE(WycheproofAead);

TEST(WycheproofX25519, SharedSecretsAreRightAndLowOrderPointsAreRefused) {
  CULVERT_LOAD_OR_SKIP(vectors, "x25519_test.json");
  for (const json& vector : vectors) {
    const Bytes private_key = bytes_of(vector, "private");
    const Bytes public_key = bytes_of(vector, "public");
    const Bytes expected = bytes_of(vector, "shared");
    Secret<kX25519Bytes> secret, shared;
    std::memcpy(secret.data(), private_key.data(), kX25519Bytes);
    const bool agreed = x25519(shared, secret, std::span<const uint8_t, kX25519Bytes>(public_key.data(), kX25519Bytes));
    EXPECT_EQ(agreed, expected != Bytes(kX25519Bytes)) << name_of(vector);
    EXPECT_EQ(std::memcmp(shared.data(), expected.data(), kX25519Bytes), 0) << name_of(vector);
  }
}

TEST(WycheproofXChaCha20Poly1305, ValidVectorsSealAndOpenAndInvalidOnesAreRefused) {
  CULVERT_LOAD_OR_SKIP(vectors, "xchacha20_poly1305_test.json");
  int used = 0;
  for (const json& vector : vectors) {
    if (vector.at("ivSize") != 192) continue;
    ++used;
    const Bytes key = bytes_of(vector, "key");
    const Bytes nonce = bytes_of(vector, "iv");
    const Bytes associated = bytes_of(vector, "aad");
    const Bytes text = bytes_of(vector, "msg");
    Bytes sealed = bytes_of(vector, "ct");
    const Bytes tag = bytes_of(vector, "tag");
    sealed.insert(sealed.end(), tag.begin(), tag.end());
    const std::span<const uint8_t, kXAeadKeyBytes> key_span(key.data(), kXAeadKeyBytes);
    const std::span<const uint8_t, kXAeadNonceBytes> nonce_span(nonce.data(), kXAeadNonceBytes);
    const bool valid = vector.at("result") == "valid";
    Bytes opened(text.size(), 1);
    EXPECT_EQ(xchacha20_poly1305_open(opened, key_span, nonce_span, sealed, associated), valid) << name_of(vector);
    EXPECT_EQ(opened, valid ? text : Bytes(text.size())) << name_of(vector);
    Bytes made(text.size() + kXAeadTagBytes);
    xchacha20_poly1305_seal(made, key_span, nonce_span, text, associated);
    EXPECT_EQ(made == sealed, valid) << name_of(vector);
  }
  EXPECT_GT(used, 200);
}

}  // namespace
}  // namespace culvert::crypto
