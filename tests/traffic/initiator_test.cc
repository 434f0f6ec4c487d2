#include "bench/traffic/initiator.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/traffic/responder.h"

namespace culvert::traffic {
namespace {

using std::chrono::milliseconds;

constexpr std::array<uint8_t, 6> kSource = {10, 0, 0, 1, 1, 2};

protocol::Instant at(int ms) {
  return protocol::Instant(milliseconds(ms));
}
protocol::Tai64n stamp(int ms) {
  return protocol::tai64n(protocol::WallTime(milliseconds(ms)));
}

class InitiatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(initiator_.prepare());
    ASSERT_TRUE(responder_.add_peer(initiator_.identity().public_key()));
  }

  std::vector<uint8_t> initiate(int ms, bool wants_cookies = false) {
    const auto message = initiator_.create_initiation(static_cast<uint32_t>(ms), stamp(ms), at(ms));
    return responder_.answer(protocol::wire_bytes(message), kSource, wants_cookies, at(ms));
  }

  Responder responder_;
  Initiator initiator_{responder_.public_key()};
};

TEST_F(InitiatorTest, IsAnsweredAgainAndAgain) {
  for (int ms = 1000; ms < 3000; ms += 50) {
    const auto answer = initiate(ms);
    ASSERT_EQ(answer.size(), sizeof(protocol::HandshakeResponse)) << ms;
    const auto response = protocol::read_message<protocol::HandshakeResponse>(answer);
    EXPECT_EQ(initiator_.pending_index(), static_cast<uint32_t>(ms));
    EXPECT_TRUE(initiator_.accept_response(response)) << ms;
    EXPECT_FALSE(initiator_.accept_response(response)) << "a response counts once";
  }
}

TEST_F(InitiatorTest, AnswersACookieWithMac2) {
  const auto answer = initiate(1000, true);
  ASSERT_EQ(answer.size(), sizeof(protocol::CookieReply));
  EXPECT_TRUE(initiator_.accept_cookie(protocol::read_message<protocol::CookieReply>(answer), at(1001)));
  EXPECT_FALSE(initiator_.pending_index());
  EXPECT_EQ(initiate(1050, true).size(), sizeof(protocol::HandshakeResponse));
}

TEST_F(InitiatorTest, AcceptsNothingElse) {
  auto answer = initiate(1000);
  ASSERT_EQ(answer.size(), sizeof(protocol::HandshakeResponse));
  const auto good = protocol::read_message<protocol::HandshakeResponse>(answer);
  auto forged = good;
  forged.macs.mac1[0] ^= 1;
  EXPECT_FALSE(initiator_.accept_response(forged));
  auto elsewhere = good;
  elsewhere.receiver_index = 999;
  EXPECT_FALSE(initiator_.accept_response(elsewhere));
  EXPECT_FALSE(initiator_.accept_cookie({}, at(1001)));
  initiator_.give_up();
  EXPECT_FALSE(initiator_.accept_response(good));
}

TEST(Initiator, RefusesAKeyOfLowOrder) {
  Initiator initiator{protocol::PublicKey{}};
  EXPECT_FALSE(initiator.prepare());
}

}  // namespace
}  // namespace culvert::traffic
