#include "src/device/encoding.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace culvert::device {
namespace {

Key counting_key() {
  Key key;
  std::iota(key.begin(), key.end(), uint8_t{0});
  return key;
}

constexpr const char* kCountingHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
constexpr const char* kCountingBase64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

TEST(KeyText, RoundTripsInBothForms) {
  EXPECT_EQ(to_hex(counting_key()), kCountingHex);
  EXPECT_EQ(to_base64(counting_key()), kCountingBase64);
  EXPECT_EQ(key_from_hex(kCountingHex), counting_key());
  EXPECT_EQ(key_from_base64(kCountingBase64), counting_key());
  EXPECT_EQ(secret_key_from_hex(kCountingHex), SecretKey(counting_key()));
  EXPECT_EQ(secret_key_from_base64(kCountingBase64), SecretKey(counting_key()));
}

TEST(KeyText, TakesUpperCaseHex) {
  EXPECT_EQ(key_from_hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"), counting_key());
}

TEST(KeyText, RefusesWhatIsNoKey) {
  const std::string hex = kCountingHex;
  const std::string base64 = kCountingBase64;
  for (const std::string& text : {std::string(), hex.substr(1), hex + "0", hex + "00", std::string("g").append(hex, 1),
                                  std::string(" ").append(hex, 1), base64})
    EXPECT_FALSE(key_from_hex(text) || secret_key_from_hex(text)) << text;
  for (const std::string& text :
       {std::string(), base64.substr(1), base64 + "=", base64.substr(0, 43) + "A", std::string(43, 'A') + "A",
        base64.substr(0, 42) + "9=", std::string("-").append(base64, 1), hex, std::string(44, '=')})
    EXPECT_FALSE(key_from_base64(text) || secret_key_from_base64(text)) << text;
}

TEST(PrefixText, RoundTripsAndMasks) {
  struct Case {
    const char* text;
    const char* printed;
    const char* masked;
  };
  const std::vector<Case> cases = {
      {"0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0"},
      {"10.20.30.40/9", "10.20.30.40/9", "10.0.0.0/9"},
      {"255.255.255.255/31", "255.255.255.255/31", "255.255.255.254/31"},
      {"192.0.2.1/32", "192.0.2.1/32", "192.0.2.1/32"},
      {"::/0", "::/0", "::/0"},
      {"2001:db8::1/33", "2001:db8::1/33", "2001:db8::/33"},
      {"2001:DB8:0:0:0:0:0:1/128", "2001:db8::1/128", "2001:db8::1/128"},
      {"ffff::ffff/127", "ffff::ffff/127", "ffff::fffe/127"},
  };
  for (const Case& c : cases) {
    const auto prefix = parse_prefix(c.text, PrefixLength::required);
    ASSERT_TRUE(prefix) << c.text;
    EXPECT_EQ(to_string(*prefix), c.printed);
    EXPECT_EQ(to_string(masked(*prefix)), c.masked);
  }
}

TEST(PrefixText, TakesABareAddressOnlyWhereTheLengthIsOptional) {
  for (const auto& [text, printed] :
       std::vector<std::pair<const char*, const char*>>{{"10.0.0.1", "10.0.0.1/32"}, {"fd00::1", "fd00::1/128"}}) {
    EXPECT_FALSE(parse_prefix(text, PrefixLength::required)) << text;
    ASSERT_TRUE(parse_prefix(text, PrefixLength::optional)) << text;
    EXPECT_EQ(to_string(*parse_prefix(text, PrefixLength::optional)), printed);
  }
}

TEST(PrefixText, RefusesWhatIsNoPrefix) {
  for (const char* text : {"",
                           "/",
                           "/8",
                           "10.0.0.0/",
                           "10.0.0.0/33",
                           "10.0.0.0/08",
                           "10.0.0.0/+8",
                           "10.0.0.0/-1",
                           "10.0.0.0/8/8",
                           "10.0.0/8",
                           "10.0.0.0.0/8",
                           "10.0.0.256/8",
                           "010.0.0.0/8",
                           "10.0.0.0/8 ",
                           " 10.0.0.0/8",
                           "::/129",
                           "fe80::1%eth0/64",
                           "::g/64",
                           "1:2:3:4:5:6:7:8:9/64",
                           "example.com/8",
                           "10.0.0.0/4294967304"})
    EXPECT_FALSE(parse_prefix(text, PrefixLength::optional)) << text;
}

TEST(Decimal, TakesDigitsUpToItsLimit) {
  EXPECT_EQ(parse_decimal("0", 10), 0);
  EXPECT_EQ(parse_decimal("0010", 10), 10);
  EXPECT_EQ(parse_decimal("18446744073709551615", UINT64_MAX), UINT64_MAX);
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "0x1", "1_0", "11", "18446744073709551616", "1.0"})
    EXPECT_FALSE(parse_decimal(text, 10)) << text;
}

}  // namespace
}  // namespace culvert::device
