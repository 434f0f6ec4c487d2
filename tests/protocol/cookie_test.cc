#include "src/protocol/cookie.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "crypto/blake2s.h"
#include "tests/hex.h"
#include "tests/protocol/noise_vectors.h"

namespace culvert::protocol {
namespace {

using namespace std::chrono_literals;
using tests::from_hex;
using tests::from_hex_exactly;
using tests::to_hex;

constexpr Instant kStart{1000s};
constexpr std::array<uint8_t, 6> kSource = {192, 0, 2, 1, 0xca, 0x6c};
constexpr uint32_t kSenderIndex = 77;

PublicKey public_key(std::string_view hex) {
  return {from_hex_exactly<32>(hex)};
}

HandshakeInitiation initiation_numbered(uint8_t number) {
  HandshakeInitiation message{};
  message.type = 1;
  message.sender_index = kSenderIndex;
  message.encrypted_static.fill(number);
  return message;
}

// A responder and an initiator that sends to it.
class Cookies : public testing::Test {
 protected:
  HandshakeInitiation send(Instant now) {
    HandshakeInitiation message = initiation_numbered(next_++);
    generator_.add_macs(wire_bytes(message), now);
    return message;
  }
  MacVerdict validate(const HandshakeInitiation& message, Instant now) {
    return checker_.validate(wire_bytes(message), kSource, now);
  }
  CookieReply reply_to(const HandshakeInitiation& message, Instant now) {
    CookieReply reply;
    checker_.create_cookie_reply(wire_bytes(message), message.sender_index, kSource, now, reply);
    return reply;
  }
  // The initiator holds a cookie that was made now.
  void exchange_cookie(Instant now) { ASSERT_TRUE(generator_.consume_cookie_reply(reply_to(send(now), now), now)); }

  CookieChecker checker_{public_key(vectors::kResponderPublic)};
  CookieGenerator generator_{public_key(vectors::kResponderPublic)};
  uint8_t next_ = 1;
};

TEST(Mac1Key, AcceptsTheMessagesOfASeparateImplementation) {
  const auto initiation = from_hex(vectors::kInitiation);
  const auto response = from_hex(vectors::kResponseWithPsk);
  EXPECT_TRUE(Mac1Key(public_key(vectors::kResponderPublic)).verify(initiation));
  EXPECT_TRUE(Mac1Key(public_key(vectors::kInitiatorPublic)).verify(response));
  EXPECT_FALSE(Mac1Key(public_key(vectors::kInitiatorPublic)).verify(initiation));
}

TEST(Mac1Key, RefusesAChangeOfAnyByteThatMac1Covers) {
  const Mac1Key key(public_key(vectors::kResponderPublic));
  const auto initiation = from_hex(vectors::kInitiation);
  for (size_t i = 0; i < initiation.size(); ++i) {
    auto changed = initiation;
    changed[i] ^= 1;
    EXPECT_EQ(key.verify(changed), i >= offsetof(HandshakeInitiation, macs.mac2)) << i;
  }
}

TEST(Mac1Key, RefusesMessagesWithoutRoomForMacs) {
  const Mac1Key key(public_key(vectors::kResponderPublic));
  EXPECT_FALSE(key.verify({}));
  EXPECT_FALSE(key.verify(std::array<uint8_t, 31>{}));
}

TEST(Mac2, IsTheMacUnderTheCookieAsASeparateImplementationComputesIt) {
  // A reply that carries the cookie of the vectors, so that the generator holds it.
  CookieGenerator generator(public_key(vectors::kResponderPublic));
  HandshakeInitiation first = initiation_numbered(1);
  generator.add_macs(wire_bytes(first), kStart);
  CookieReply reply{};
  std::vector<uint8_t> label_and_key = {'c', 'o', 'o', 'k', 'i', 'e', '-', '-'};
  const auto responder = from_hex(vectors::kResponderPublic);
  label_and_key.insert(label_and_key.end(), responder.begin(), responder.end());
  crypto::xchacha20_poly1305_seal(reply.encrypted_cookie, crypto::blake2s({label_and_key}), reply.nonce,
                                  from_hex(vectors::kCookie), first.macs.mac1);
  ASSERT_TRUE(generator.consume_cookie_reply(reply, kStart));

  auto message = from_hex(vectors::kInitiation);
  std::fill(message.end() - sizeof(Macs), message.end(), uint8_t{0xee});
  generator.add_macs(message, kStart);
  EXPECT_EQ(to_hex(message), vectors::kInitiation);
}

TEST_F(Cookies, ASenderWithoutACookieHasAValidMac1Alone) {
  const HandshakeInitiation message = send(kStart);
  EXPECT_EQ(message.macs.mac2, Mac{});
  EXPECT_EQ(validate(message, kStart), MacVerdict::valid_mac_no_cookie);
}

TEST_F(Cookies, AWrongMac1IsRefusedWhateverMac2Is) {
  exchange_cookie(kStart);
  HandshakeInitiation message = send(kStart);
  ASSERT_EQ(validate(message, kStart), MacVerdict::valid_mac_with_cookie);
  message.macs.mac1[0] ^= 1;
  EXPECT_EQ(validate(message, kStart), MacVerdict::invalid_mac);
}

TEST_F(Cookies, ASenderThatGotAReplyProvesItsAddress) {
  const HandshakeInitiation first = send(kStart);
  const CookieReply reply = reply_to(first, kStart);
  EXPECT_EQ(classify(wire_bytes(reply)), MessageKind::cookie_reply);
  EXPECT_EQ(reply.receiver_index, kSenderIndex);
  ASSERT_TRUE(generator_.consume_cookie_reply(reply, kStart));
  HandshakeInitiation second = send(kStart + 5s);
  EXPECT_EQ(validate(second, kStart + 5s), MacVerdict::valid_mac_with_cookie);
  second.macs.mac2[15] ^= 1;
  EXPECT_EQ(validate(second, kStart + 5s), MacVerdict::valid_mac_no_cookie);
}

TEST_F(Cookies, ACookieIsGoodForOneAddressAndPortOnly) {
  exchange_cookie(kStart);
  const HandshakeInitiation message = send(kStart);
  for (size_t i = 0; i < kSource.size(); ++i) {
    auto other = kSource;
    other[i] ^= 1;
    EXPECT_EQ(checker_.validate(wire_bytes(message), other, kStart), MacVerdict::valid_mac_no_cookie) << i;
  }
}

TEST_F(Cookies, NoncesOfRepliesDiffer) {
  const HandshakeInitiation message = send(kStart);
  EXPECT_NE(reply_to(message, kStart).nonce, reply_to(message, kStart).nonce);
}

TEST_F(Cookies, ASenderStopsUsingACookieFiveSecondsBeforeItsSecretEnds) {
  exchange_cookie(kStart);
  const auto last = kStart + kCookieRefreshTime - kCookieSecretLatency - 1ns;
  EXPECT_EQ(validate(send(last), last), MacVerdict::valid_mac_with_cookie);
  EXPECT_EQ(send(last + 1ns).macs.mac2, Mac{});
  EXPECT_EQ(send(last - 1s).macs.mac2, Mac{}) << "gone is gone";
}

TEST_F(Cookies, TheSecretRotatesEveryTwoMinutes) {
  exchange_cookie(kStart);
  const HandshakeInitiation message = send(kStart);
  EXPECT_EQ(validate(message, kStart + kCookieRefreshTime - 1ns), MacVerdict::valid_mac_with_cookie);
  EXPECT_EQ(validate(message, kStart + kCookieRefreshTime), MacVerdict::valid_mac_no_cookie);
  exchange_cookie(kStart + kCookieRefreshTime);
  EXPECT_EQ(validate(send(kStart + 200s), kStart + 200s), MacVerdict::valid_mac_with_cookie);
}

TEST_F(Cookies, AReplyIsTakenOnceAndOnlyByTheMessageItAnswers) {
  const CookieReply to_first = reply_to(send(kStart), kStart);
  const CookieReply to_second = reply_to(send(kStart), kStart);
  EXPECT_FALSE(generator_.consume_cookie_reply(to_first, kStart)) << "a later message was sent";
  EXPECT_TRUE(generator_.consume_cookie_reply(to_second, kStart));
  EXPECT_FALSE(generator_.consume_cookie_reply(to_second, kStart)) << "replayed";
}

TEST_F(Cookies, AReplyBeforeAnythingWasSentIsRefused) {
  EXPECT_FALSE(generator_.consume_cookie_reply(reply_to(initiation_numbered(1), kStart), kStart));
}

TEST_F(Cookies, AForgedReplyIsRefusedAndTheHonestOneStillTaken) {
  const CookieReply honest = reply_to(send(kStart), kStart);
  CookieReply forged = honest;
  forged.encrypted_cookie[3] ^= 1;
  EXPECT_FALSE(generator_.consume_cookie_reply(forged, kStart));
  forged = honest;
  forged.nonce[23] ^= 1;
  EXPECT_FALSE(generator_.consume_cookie_reply(forged, kStart));
  EXPECT_TRUE(generator_.consume_cookie_reply(honest, kStart));
}

TEST_F(Cookies, AForgedReplyDoesNotReplaceACookie) {
  exchange_cookie(kStart);
  CookieReply forged = reply_to(send(kStart), kStart);
  forged.encrypted_cookie[0] ^= 1;
  EXPECT_FALSE(generator_.consume_cookie_reply(forged, kStart));
  EXPECT_EQ(validate(send(kStart), kStart), MacVerdict::valid_mac_with_cookie);
}

TEST_F(Cookies, AReplyOfAnotherResponderIsRefused) {
  CookieChecker other(public_key(vectors::kInitiatorPublic));
  const HandshakeInitiation message = send(kStart);
  CookieReply reply;
  other.create_cookie_reply(wire_bytes(message), kSenderIndex, kSource, kStart, reply);
  EXPECT_FALSE(generator_.consume_cookie_reply(reply, kStart));
}

TEST_F(Cookies, ResponsesCarryMacsAsInitiationsDo) {
  HandshakeResponse response{};
  response.type = 2;
  generator_.add_macs(wire_bytes(response), kStart);
  EXPECT_EQ(checker_.validate(wire_bytes(response), kSource, kStart), MacVerdict::valid_mac_no_cookie);
  CookieReply reply;
  checker_.create_cookie_reply(wire_bytes(response), response.sender_index, kSource, kStart, reply);
  ASSERT_TRUE(generator_.consume_cookie_reply(reply, kStart));
  generator_.add_macs(wire_bytes(response), kStart);
  EXPECT_EQ(checker_.validate(wire_bytes(response), kSource, kStart), MacVerdict::valid_mac_with_cookie);
}

}  // namespace
}  // namespace culvert::protocol
