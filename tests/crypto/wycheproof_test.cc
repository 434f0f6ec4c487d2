// Project Wycheproof's vectors, which aim at the mistakes that implementations make; tests/vectors/convert.py wrote
// their files.
#include <gtest/gtest.h>
#include <sodium.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "crypto/aead_engine.h"
#include "crypto/x25519.h"
#include "crypto/xchacha20_poly1305.h"
#include "tests/crypto/aead_engines.h"
#include "tests/hex.h"

namespace culvert::crypto {
namespace {

// One line of a file in tests/vectors: its number, its verdict and its fields by name.
struct Vector {
  std::string name;
  bool valid;  // not invalid, nor merely acceptable
  std::map<std::string, Bytes> fields;

  const Bytes& operator[](const char* field) const { return fields.at(field); }
};

// One file's vectors; `fields` names its columns. None if the file is not there, which the callers take for a failure.
std::vector<Vector> load_vectors(const std::string& file, const std::vector<std::string>& fields) {
  std::ifstream stream(CULVERT_TEST_VECTORS "/" + file);
  std::vector<Vector> vectors;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string number, verdict, word;
    words >> number >> verdict;
    Vector vector{file + " " + number, verdict == "valid", {}};
    for (const std::string& field : fields) {
      words >> word;
      vector.fields[field] = word == "-" ? Bytes() : tests::from_hex(word);
    }
    EXPECT_TRUE(words && !(words >> word)) << line;
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

std::vector<Vector> aead_vectors(const std::string& file) {
  return load_vectors(file, {"key", "nonce", "associated", "text", "ciphertext", "tag"});
}

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
  const std::vector<Vector> vectors = aead_vectors("chacha20_poly1305.txt");
  ASSERT_EQ(vectors.size(), 316U);
  for (const Vector& vector : vectors) {
    const Bytes& key = vector["key"];
    const Bytes& nonce = vector["nonce"];
    const Bytes& associated = vector["associated"];
    const Bytes& ciphertext = vector["ciphertext"];
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
      EXPECT_EQ(tag == vector["tag"], vector.valid) << vector.name << ", path " << path;
    }
  }
}

// And their keys, texts and counters with nonces like ours, one by one and as one batch, against libsodium.
TEST_P(WycheproofAead, TheirKeysAndTextsSealLikeLibsodiumAndOpenAgain) {
  const std::vector<Vector> vectors = aead_vectors("chacha20_poly1305.txt");
  ASSERT_EQ(vectors.size(), 316U);
  std::vector<Bytes> keys, texts, sealed;
  std::vector<SealMessage> sealing;
  for (const Vector& vector : vectors) {
    keys.push_back(vector["key"]);
    texts.push_back(vector["text"]);
    sealed.emplace_back(texts.back().size() + kAeadTagBytes);
    uint64_t counter = 0;
    std::memcpy(&counter, vector["nonce"].data() + 4, sizeof counter);
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
  const std::vector<Vector> vectors = load_vectors("x25519.txt", {"private", "public", "shared"});
  ASSERT_EQ(vectors.size(), 518U);
  for (const Vector& vector : vectors) {
    const Bytes& private_key = vector["private"];
    const Bytes& public_key = vector["public"];
    const Bytes& expected = vector["shared"];
    Secret<kX25519Bytes> secret, shared;
    std::memcpy(secret.data(), private_key.data(), kX25519Bytes);
    const bool agreed = x25519(shared, secret, std::span<const uint8_t, kX25519Bytes>(public_key.data(), kX25519Bytes));
    EXPECT_EQ(agreed, expected != Bytes(kX25519Bytes)) << vector.name;
    EXPECT_EQ(std::memcmp(shared.data(), expected.data(), kX25519Bytes), 0) << vector.name;
  }
}

TEST(WycheproofXChaCha20Poly1305, ValidVectorsSealAndOpenAndInvalidOnesAreRefused) {
  const std::vector<Vector> vectors = aead_vectors("xchacha20_poly1305.txt");
  ASSERT_EQ(vectors.size(), 306U);
  for (const Vector& vector : vectors) {
    const Bytes& key = vector["key"];
    const Bytes& nonce = vector["nonce"];
    const Bytes& associated = vector["associated"];
    const Bytes& text = vector["text"];
    Bytes sealed = vector["ciphertext"];
    const Bytes& tag = vector["tag"];
    sealed.insert(sealed.end(), tag.begin(), tag.end());
    const std::span<const uint8_t, kXAeadKeyBytes> key_span(key.data(), kXAeadKeyBytes);
    const std::span<const uint8_t, kXAeadNonceBytes> nonce_span(nonce.data(), kXAeadNonceBytes);
    const bool valid = vector.valid;
    Bytes opened(text.size(), 1);
    EXPECT_EQ(xchacha20_poly1305_open(opened, key_span, nonce_span, sealed, associated), valid) << vector.name;
    EXPECT_EQ(opened, valid ? text : Bytes(text.size())) << vector.name;
    Bytes made(text.size() + kXAeadTagBytes);
    xchacha20_poly1305_seal(made, key_span, nonce_span, text, associated);
    EXPECT_EQ(made == sealed, valid) << vector.name;
  }
}

}  // namespace
}  // namespace culvert::crypto
