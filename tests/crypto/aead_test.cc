// The AEAD against published vectors, and the choice of its engine.
#include "crypto/aead.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "tests/crypto/aead_engines.h"

namespace culvert::crypto {
namespace {

using testing::HasSubstr;

class AeadVectors : public testing::TestWithParam<const Engine*> {};

// RFC 8439 appendix A.1: key streams of a zero key. Sealing zeros shows the stream from block 1 on.
TEST_P(AeadVectors, TheKeyStreamIsThatOfRfc8439AppendixA1) {
  const Bytes key(32);
  const Bytes zeros(64);
  Bytes sealed(64 + kAeadTagBytes);
  const SealMessage message{key.data(), 0, zeros.data(), sealed.data(), 64};
  GetParam()->seal(&message, 1);
  sealed.resize(64);
  EXPECT_EQ(sealed, from_hex("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                             "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"));
}

struct Poly1305Vector {
  const char* name;
  const char* key;
  const char* source;
  const char* tag;
};

constexpr Poly1305Vector kPoly1305Vectors[] = {
    {"appendix A.3 #1, everything zero", "0000000000000000000000000000000000000000000000000000000000000000",
     "0000000000000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000000000000000000000000000000000000000000000",
     "00000000000000000000000000000000"},
    {"appendix A.3 #7, a carry out of 2^130 after reduction",
     "0200000000000000000000000000000000000000000000000000000000000000", "ffffffffffffffffffffffffffffffff",
     "03000000000000000000000000000000"},
    {"appendix A.3 #8, the sum with s overflows 2^128",
     "02000000000000000000000000000000ffffffffffffffffffffffffffffffff", "02000000000000000000000000000000",
     "03000000000000000000000000000000"},
    {"appendix A.3 #9, all ones and a carry", "0100000000000000000000000000000000000000000000000000000000000000",
     "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000",
     "05000000000000000000000000000000"},
    {"appendix A.3 #10, the accumulator is 2^130 - 5 exactly",
     "0100000000000000000000000000000000000000000000000000000000000000",
     "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101",
     "00000000000000000000000000000000"},
    {"appendix A.3 #11, the accumulator is 2^130 - 6",
     "0200000000000000000000000000000000000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
     "faffffffffffffffffffffffffffffff"},
    {"appendix A.3 #12, the last reduction carries between limbs",
     "0100000000000000040000000000000000000000000000000000000000000000",
     "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000000001"
     "000000000000000000000000000000",
     "14000000000000005500000000000000"},
    {"appendix A.3 #13, the same with one block less",
     "0100000000000000040000000000000000000000000000000000000000000000",
     "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
     "13000000000000000000000000000000"},
};

TEST_P(AeadVectors, Poly1305GivesTheTagsOfRfc8439) {
  for (int path = 0; path < GetParam()->poly1305_paths; ++path) {
    for (const Poly1305Vector& vector : kPoly1305Vectors) {
      const Bytes key = from_hex(vector.key);
      const Bytes source = from_hex(vector.source);
      Bytes tag(kAeadTagBytes);
      const Poly1305Message message{key.data(), source.data(), static_cast<uint32_t>(source.size()), tag.data()};
      GetParam()->poly1305(&message, 1, path);
      EXPECT_EQ(tag, from_hex(vector.tag)) << vector.name << ", path " << path;
    }
  }
}

CULVERT_ON_EVERY_ENGINE(AeadVectors);

TEST(AeadEngines, ThePortableEngineIsAlwaysThereAndLast) {
  ASSERT_FALSE(engines().empty());
  EXPECT_STREQ(engines().back()->name, "portable");
}

TEST(AeadEngines, EveryListedEngineCanBeSelectedAndIsThenUsed) {
  for (const Engine* engine : engines()) {
    EXPECT_EQ(select_engine(engine->name), "");
    EXPECT_STREQ(engine_name(), engine->name);
    const Bytes key(32, 7);
    Bytes text(100, 3);
    const Bytes expected = reference_seal(key.data(), 5, text);
    text.resize(100 + kAeadTagBytes);
    const SealMessage sealing{key.data(), 5, text.data(), text.data(), 100};
    seal({&sealing, 1});
    EXPECT_EQ(text, expected);
    OpenMessage opening{key.data(), 5, text.data(), text.data(), 100, false};
    EXPECT_EQ(open({&opening, 1}), 1u);
    EXPECT_TRUE(opening.authentic);
  }
}

TEST(AeadEngines, AnUnknownNameIsRefusedInWordsAndChangesNothing) {
  ASSERT_EQ(select_engine("portable"), "");
  EXPECT_THAT(select_engine("quantum"), HasSubstr("no AEAD engine called 'quantum'"));
  EXPECT_STREQ(engine_name(), "portable");
}

// The environment is read once per process, so these two run in processes of their own.
TEST(AeadEnginesDeathTest, AnOverrideThatCannotBeFollowedIsReportedAndTheBestEngineIsUsed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("CULVERT_AEAD", "quantum", 1);
  EXPECT_EXIT(
      {
        const bool reported = engine_override_error().find("quantum") != std::string::npos;
        std::exit(reported && std::string(engine_name()) == engines().front()->name ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  setenv("CULVERT_AEAD", "portable", 1);
  EXPECT_EXIT(std::exit(engine_override_error().empty() && std::string(engine_name()) == "portable" ? 0 : 1),
              testing::ExitedWithCode(0), "");
  unsetenv("CULVERT_AEAD");
}

}  // namespace
}  // namespace culvert::crypto
