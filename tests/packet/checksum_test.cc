// Every engine against a sum of one word at a time.
#include "src/packet/checksum.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "src/packet/checksum_engine.h"
#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using test::Bytes;

// Folded, in network order whatever the machine's.
unsigned in_network_order(uint64_t sum) {
  const uint16_t folded = checksum_fold(sum);
  return std::endian::native == std::endian::little ? static_cast<unsigned>(folded >> 8 | (folded & 0xff) << 8)
                                                    : folded;
}

class ChecksumEngines : public testing::TestWithParam<ChecksumEngine> {
 protected:
  void SetUp() override {
    if (!GetParam().runs_here()) GTEST_SKIP() << "this CPU has no " << GetParam().name;
  }
};

TEST_P(ChecksumEngines, SumLikeOneWordAtATimeAtEveryLengthAndAlignment) {
  std::mt19937 random(1);
  Bytes bytes(2300);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t length = 0; length <= 2100; length += length < 300 ? 1 : 37) {
    for (size_t start = 0; start < 67; ++start) {
      const std::span<const uint8_t> piece(bytes.data() + start, length);
      ASSERT_EQ(in_network_order(GetParam().add(piece.data(), length)), test::naive_checksum(piece))
          << length << " bytes from " << start;
    }
  }
}

TEST_P(ChecksumEngines, CopyExactlyTheBytesAskedForAndSumThem) {
  std::mt19937 random(2);
  Bytes source(2300);
  for (uint8_t& byte : source) byte = static_cast<uint8_t>(random());
  for (size_t length = 0; length <= 2100; length += length < 300 ? 1 : 37) {
    for (size_t start = 0; start < 9; ++start) {
      Bytes destination(2300, 0xa5);
      const uint64_t sum = GetParam().copy(destination.data() + start, source.data() + 5, length);
      Bytes expected(2300, 0xa5);
      std::copy_n(source.begin() + 5, length, expected.begin() + static_cast<long>(start));
      ASSERT_EQ(destination, expected) << length << " bytes to " << start;
      ASSERT_EQ(in_network_order(sum), test::naive_checksum(std::span(source).subspan(5, length)));
    }
  }
}

TEST_P(ChecksumEngines, CarryOutOf65536BytesOfOnes) {
  const Bytes bytes(65536, 0xff);
  EXPECT_EQ(checksum_fold(GetParam().add(bytes.data(), bytes.size())), 0xffff);
}

TEST_P(ChecksumEngines, ReturnSumsThatCanBeAddedManyTimes) {
  const Bytes bytes(65536, 0xff);
  EXPECT_LT(GetParam().add(bytes.data(), bytes.size()), uint64_t{1} << 34);
}

INSTANTIATE_TEST_SUITE_P(, ChecksumEngines, testing::ValuesIn(checksum_engines().begin(), checksum_engines().end()),
                         [](const auto& it) { return test::identifier(it.param.name); });

TEST(Checksum, OfRfc1071sExampleIsDdf2) {
  const Bytes bytes = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(in_network_order(checksum_add(bytes.data(), bytes.size())), 0xddf2u);
}

TEST(Checksum, PiecesOfEvenLengthAddUp) {
  Bytes bytes(999);
  std::iota(bytes.begin(), bytes.end(), uint8_t{3});
  const uint64_t sum = checksum_add(bytes.data(), 20) + checksum_add(bytes.data() + 20, 979);
  EXPECT_EQ(checksum_fold(sum), checksum_fold(checksum_add(bytes.data(), 999)));
}

TEST(Checksum, FoldingKeepsTheValueModulo65535) {
  for (const uint64_t sum : {uint64_t{0}, uint64_t{0xffff}, uint64_t{0x10000}, uint64_t{0xfffffffff}, ~uint64_t{0}})
    EXPECT_EQ(checksum_fold(sum) % 65535, sum % 65535) << sum;
}

}  // namespace
}  // namespace culvert::packet
