#include "src/protocol/noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tests/hex.h"
#include "tests/protocol/noise_vectors.h"

namespace culvert::protocol {
namespace {

using namespace std::chrono_literals;
using tests::from_hex;
using tests::from_hex_exactly;
using tests::to_hex;

constexpr Instant kStart{1000s};

crypto::Secret<32> secret(std::string_view hex) {
  return crypto::Secret<32>(from_hex_exactly<32>(hex));
}

Tai64n stamp(uint8_t number) {
  return Tai64n{{0x40, 0, 0, 0, 0, 0, 0, number}};
}

// All of a message but its macs, which are cookie.h's.
template <class Message>
std::string hex_before_macs(const Message& message) {
  return to_hex(wire_bytes(message).first(sizeof(Message) - sizeof(Macs)));
}
std::string hex_before_macs(std::string_view hex) {
  return std::string(hex.substr(0, hex.size() - 2 * sizeof(Macs)));
}

// One end of a tunnel: an identity, and the handshake with the other end.
struct End {
  End(std::string_view private_key, std::string_view remote)
      : End(private_key, PublicKey{from_hex_exactly<32>(remote)}) {}
  End(std::string_view private_key, const PublicKey& remote) : identity(secret(private_key)), handshake(remote) {
    handshake.precompute_static_static(identity);
  }

  StaticIdentity identity;
  Handshake handshake;
};

class Noise : public testing::Test {
 protected:
  void set_preshared_keys(const SymmetricKey& at_initiator, const SymmetricKey& at_responder) {
    initiator_.handshake.set_preshared_key(at_initiator);
    responder_.handshake.set_preshared_key(at_responder);
  }

  HandshakeInitiation initiate(uint8_t time) {
    HandshakeInitiation message;
    EXPECT_TRUE(
        initiator_.handshake.create_initiation(initiator_.identity, vectors::kInitiatorIndex, stamp(time), message));
    return message;
  }

  InitiationVerdict consume(const HandshakeInitiation& message, Instant now) {
    auto opened = open_initiation(responder_.identity, message);
    if (!opened) return InitiationVerdict::bad;
    EXPECT_EQ(opened->remote_static, initiator_.identity.public_key());
    return responder_.handshake.consume_initiation(*opened, now);
  }

  HandshakeResponse respond() {
    HandshakeResponse message;
    EXPECT_TRUE(responder_.handshake.create_response(vectors::kResponderIndex, message));
    return message;
  }

  bool consume(const HandshakeResponse& message) {
    return initiator_.handshake.consume_response(initiator_.identity, message);
  }

  // A handshake as far as the response, which is on its way.
  HandshakeResponse exchange(uint8_t time, Instant now) {
    EXPECT_EQ(consume(initiate(time), now), InitiationVerdict::ok);
    return respond();
  }

  void expect_a_common_session() {
    const auto ours = initiator_.handshake.begin_session();
    const auto theirs = responder_.handshake.begin_session();
    ASSERT_TRUE(ours && theirs);
    EXPECT_TRUE(ours->sending == theirs->receiving);
    EXPECT_TRUE(ours->receiving == theirs->sending);
    EXPECT_FALSE(ours->sending == ours->receiving);
    EXPECT_TRUE(ours->i_am_initiator);
    EXPECT_FALSE(theirs->i_am_initiator);
    EXPECT_EQ(ours->local_index, vectors::kInitiatorIndex);
    EXPECT_EQ(ours->remote_index, vectors::kResponderIndex);
    EXPECT_EQ(theirs->local_index, vectors::kResponderIndex);
    EXPECT_EQ(theirs->remote_index, vectors::kInitiatorIndex);
  }

  End initiator_{vectors::kInitiatorPrivate, vectors::kResponderPublic};
  End responder_{vectors::kResponderPrivate, vectors::kInitiatorPublic};
};

struct VectorCase {
  const char* name;
  std::string_view preshared_key;
  std::string_view response;
  std::string_view from_initiator;
  std::string_view from_responder;
};

constexpr std::string_view kZeroKey = "0000000000000000000000000000000000000000000000000000000000000000";
constexpr VectorCase kVectorCases[] = {
    {"without a preshared key", kZeroKey, vectors::kResponseWithoutPsk, vectors::kFromInitiatorWithoutPsk,
     vectors::kFromResponderWithoutPsk},
    {"with a preshared key", vectors::kPresharedKey, vectors::kResponseWithPsk, vectors::kFromInitiatorWithPsk,
     vectors::kFromResponderWithPsk},
};

class NoiseVectors : public Noise, public testing::WithParamInterface<VectorCase> {};

TEST_P(NoiseVectors, BothRolesAgreeWithASeparateImplementation) {
  const VectorCase& c = GetParam();
  set_preshared_keys(secret(c.preshared_key), secret(c.preshared_key));

  HandshakeInitiation initiation;
  ASSERT_TRUE(initiator_.handshake.create_initiation_with(
      secret(vectors::kInitiatorEphemeral), initiator_.identity, vectors::kInitiatorIndex,
      Tai64n{from_hex_exactly<kTai64nBytes>(vectors::kTimestamp)}, initiation));
  EXPECT_EQ(hex_before_macs(initiation), hex_before_macs(vectors::kInitiation));
  EXPECT_EQ(initiation.macs.mac1, Mac{});
  EXPECT_EQ(initiation.macs.mac2, Mac{});

  ASSERT_EQ(consume(read_message<HandshakeInitiation>(from_hex(vectors::kInitiation)), kStart), InitiationVerdict::ok);
  HandshakeResponse response;
  ASSERT_TRUE(responder_.handshake.create_response_with(secret(vectors::kResponderEphemeral), vectors::kResponderIndex,
                                                        response));
  EXPECT_EQ(hex_before_macs(response), hex_before_macs(c.response));

  ASSERT_TRUE(consume(read_message<HandshakeResponse>(from_hex(c.response))));
  const auto ours = initiator_.handshake.begin_session();
  const auto theirs = responder_.handshake.begin_session();
  ASSERT_TRUE(ours && theirs);
  EXPECT_EQ(to_hex(ours->sending.bytes()), c.from_initiator);
  EXPECT_EQ(to_hex(ours->receiving.bytes()), c.from_responder);
  EXPECT_EQ(to_hex(theirs->sending.bytes()), c.from_responder);
  EXPECT_EQ(to_hex(theirs->receiving.bytes()), c.from_initiator);
}

std::string case_name(const testing::TestParamInfo<VectorCase>& tested) {
  std::string name = tested.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Noise, NoiseVectors, testing::ValuesIn(kVectorCases), case_name);

TEST_F(Noise, AHandshakeEndsInKeysThatBothEndsShare) {
  EXPECT_TRUE(consume(exchange(1, kStart)));
  expect_a_common_session();
}

TEST_F(Noise, OnePairOfEndsCanDoItAgainAndInBothDirections) {
  EXPECT_TRUE(consume(exchange(1, kStart)));
  const auto first = initiator_.handshake.begin_session();
  ASSERT_TRUE(first);
  EXPECT_TRUE(consume(exchange(2, kStart + 120s)));
  expect_a_common_session();
  std::swap(initiator_, responder_);
  EXPECT_TRUE(consume(exchange(3, kStart + 240s)));
  expect_a_common_session();
}

TEST_F(Noise, TheStatesFollowOneAnother) {
  const auto initiators = [this] { return initiator_.handshake.state(); };
  const auto responders = [this] { return responder_.handshake.state(); };
  EXPECT_EQ(initiators(), HandshakeState::zeroed);
  EXPECT_EQ(initiator_.handshake.local_index(), std::nullopt);
  const auto initiation = initiate(1);
  EXPECT_EQ(initiators(), HandshakeState::created_initiation);
  EXPECT_EQ(initiator_.handshake.local_index(), vectors::kInitiatorIndex);
  EXPECT_EQ(consume(initiation, kStart), InitiationVerdict::ok);
  EXPECT_EQ(responders(), HandshakeState::consumed_initiation);
  EXPECT_EQ(responder_.handshake.local_index(), std::nullopt);
  const auto response = respond();
  EXPECT_EQ(responders(), HandshakeState::created_response);
  EXPECT_EQ(responder_.handshake.local_index(), vectors::kResponderIndex);
  EXPECT_TRUE(consume(response));
  EXPECT_EQ(initiators(), HandshakeState::consumed_response);
  expect_a_common_session();
  EXPECT_EQ(initiators(), HandshakeState::zeroed);
  EXPECT_EQ(responders(), HandshakeState::zeroed);
  EXPECT_EQ(initiator_.handshake.local_index(), std::nullopt);
  EXPECT_EQ(responder_.handshake.local_index(), std::nullopt);
}

TEST_F(Noise, CallsOutOfTurnAreRefused) {
  HandshakeResponse response;
  EXPECT_FALSE(responder_.handshake.create_response(1, response));
  EXPECT_FALSE(initiator_.handshake.begin_session());
  const auto initiation = initiate(1);
  EXPECT_FALSE(initiator_.handshake.begin_session());
  EXPECT_FALSE(initiator_.handshake.create_response(1, response));
  EXPECT_EQ(consume(initiation, kStart), InitiationVerdict::ok);
  EXPECT_FALSE(responder_.handshake.begin_session());
  response = respond();
  EXPECT_FALSE(responder_.handshake.create_response(1, response)) << "one initiation, one response";
  EXPECT_TRUE(consume(response));
  EXPECT_FALSE(consume(response)) << "a response that was consumed before";
  EXPECT_TRUE(initiator_.handshake.begin_session());
  EXPECT_FALSE(initiator_.handshake.begin_session()) << "one handshake, one session";
  EXPECT_FALSE(consume(response)) << "a response after the handshake";
}

TEST_F(Noise, EphemeralKeysDifferFromHandshakeToHandshake) {
  EXPECT_NE(initiate(1).unencrypted_ephemeral, initiate(2).unencrypted_ephemeral);
}

TEST_F(Noise, AnyChangedByteOfAnInitiationIsNoticed) {
  const HandshakeInitiation honest = initiate(1);
  constexpr size_t kBegin = offsetof(HandshakeInitiation, unencrypted_ephemeral);
  for (size_t i = kBegin; i < offsetof(HandshakeInitiation, macs); ++i) {
    // The top bit of a point is ignored by X25519, though not by the transcript.
    for (const uint8_t bit : {0x01, 0x80}) {
      HandshakeInitiation forged = honest;
      wire_bytes(forged)[i] ^= bit;
      EXPECT_EQ(consume(forged, kStart), InitiationVerdict::bad) << i;
    }
  }
  EXPECT_EQ(responder_.handshake.state(), HandshakeState::zeroed);
  EXPECT_EQ(consume(honest, kStart), InitiationVerdict::ok) << "forgeries neither count nor use up the time";
}

TEST_F(Noise, AnInitiationForAnotherResponderIsNotOpened) {
  const StaticIdentity other(secret(vectors::kResponderEphemeral));
  EXPECT_FALSE(open_initiation(other, initiate(1)));
  EXPECT_FALSE(open_initiation(StaticIdentity(), initiate(1)));
}

TEST_F(Noise, AnInitiationOfAnotherPeerIsBad) {
  End stranger(vectors::kInitiatorEphemeral, responder_.identity.public_key());
  HandshakeInitiation message;
  ASSERT_TRUE(stranger.handshake.create_initiation(stranger.identity, 1, stamp(1), message));
  auto opened = open_initiation(responder_.identity, message);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->remote_static, stranger.identity.public_key());
  EXPECT_EQ(responder_.handshake.consume_initiation(*opened, kStart), InitiationVerdict::bad);
}

// Whoever knows the responder's public key can make the first half of an initiation in anybody's name.
TEST_F(Noise, AnInitiationInTheNameOfAPeerIsBadWithoutItsPrivateKey) {
  End impostor(vectors::kInitiatorEphemeral, responder_.identity.public_key());
  auto opened = open_initiation(responder_.identity, initiate(1));
  HandshakeInitiation forged;
  ASSERT_TRUE(impostor.handshake.create_initiation(impostor.identity, 1, stamp(9), forged));
  auto forged_opened = open_initiation(responder_.identity, forged);
  ASSERT_TRUE(opened && forged_opened);
  forged_opened->remote_static = opened->remote_static;
  EXPECT_EQ(responder_.handshake.consume_initiation(*forged_opened, kStart), InitiationVerdict::bad);
  EXPECT_EQ(responder_.handshake.consume_initiation(*opened, kStart), InitiationVerdict::ok);
}

TEST_F(Noise, AReplayedInitiationIsRefusedAndLeavesTheHandshakePending) {
  const HandshakeInitiation earlier = initiate(1);
  const HandshakeInitiation later = initiate(2);
  EXPECT_EQ(consume(later, kStart), InitiationVerdict::ok);
  EXPECT_EQ(consume(later, kStart + 1s), InitiationVerdict::replayed);
  EXPECT_EQ(consume(earlier, kStart + 1s), InitiationVerdict::replayed);
  EXPECT_TRUE(consume(respond()));
  expect_a_common_session();
  EXPECT_EQ(consume(later, kStart + 1h), InitiationVerdict::replayed) << "after the handshake as well";
  responder_.handshake.clear();
  EXPECT_EQ(consume(later, kStart + 1h), InitiationVerdict::replayed) << "after clear() as well";
}

TEST_F(Noise, InitiationsCloserThan20MsAreAFlood) {
  EXPECT_EQ(consume(initiate(1), kStart), InitiationVerdict::ok);
  EXPECT_EQ(consume(initiate(2), kStart + 20ms - 1ns), InitiationVerdict::flood);
  EXPECT_EQ(consume(initiate(2), kStart + 20ms), InitiationVerdict::ok) << "the flood did not use up its time";
}

TEST_F(Noise, TheFirstInitiationIsNoFloodWhateverTheTime) {
  EXPECT_EQ(consume(initiate(1), Instant{}), InitiationVerdict::ok);
}

TEST_F(Noise, AnyChangedByteOfAResponseIsNoticedAndTheHonestOneStillWorks) {
  const HandshakeResponse honest = exchange(1, kStart);
  // The sender index is covered by mac1 alone.
  for (size_t i = offsetof(HandshakeResponse, receiver_index); i < offsetof(HandshakeResponse, macs); ++i) {
    HandshakeResponse forged = honest;
    wire_bytes(forged)[i] ^= 0x80;
    EXPECT_FALSE(consume(forged)) << i;
    EXPECT_EQ(initiator_.handshake.state(), HandshakeState::created_initiation);
  }
  EXPECT_TRUE(consume(honest));
  expect_a_common_session();
}

TEST_F(Noise, AResponseToAnEarlierInitiationIsRefused) {
  const HandshakeResponse to_first = exchange(1, kStart);
  const HandshakeResponse to_second = exchange(2, kStart + 1s);
  EXPECT_FALSE(consume(to_first));
  EXPECT_TRUE(consume(to_second));
}

TEST_F(Noise, PresharedKeysThatDifferFailTheResponse) {
  set_preshared_keys(secret(vectors::kPresharedKey), SymmetricKey());
  EXPECT_FALSE(consume(exchange(1, kStart))) << "only the initiator has one";
  set_preshared_keys(SymmetricKey(), secret(vectors::kPresharedKey));
  EXPECT_FALSE(consume(exchange(2, kStart + 1s))) << "only the responder has one";
  set_preshared_keys(secret(vectors::kInitiatorEphemeral), secret(vectors::kPresharedKey));
  EXPECT_FALSE(consume(exchange(3, kStart + 2s))) << "each has another";
  set_preshared_keys(secret(vectors::kPresharedKey), secret(vectors::kPresharedKey));
  EXPECT_TRUE(consume(exchange(4, kStart + 3s)));
}

constexpr std::string_view kLowOrderPoints[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

TEST_F(Noise, APeerWithALowOrderPublicKeyGetsNoHandshake) {
  for (const std::string_view point : kLowOrderPoints) {
    SCOPED_TRACE(point);
    Handshake handshake(PublicKey{from_hex_exactly<32>(point)});
    EXPECT_FALSE(handshake.precompute_static_static(initiator_.identity));
    HandshakeInitiation message;
    EXPECT_FALSE(handshake.create_initiation(initiator_.identity, 1, stamp(1), message));
    auto opened = open_initiation(responder_.identity, initiate(1));
    ASSERT_TRUE(opened);
    opened->remote_static = handshake.remote_static();
    EXPECT_EQ(handshake.consume_initiation(*opened, kStart), InitiationVerdict::bad);
    EXPECT_EQ(handshake.state(), HandshakeState::zeroed);
  }
}

TEST_F(Noise, MessagesWithLowOrderEphemeralsAreRefused) {
  for (const std::string_view point : kLowOrderPoints) {
    SCOPED_TRACE(point);
    HandshakeInitiation initiation = initiate(1);
    initiation.unencrypted_ephemeral = from_hex_exactly<32>(point);
    EXPECT_FALSE(open_initiation(responder_.identity, initiation));
    HandshakeResponse response{};
    response.receiver_index = vectors::kInitiatorIndex;
    response.unencrypted_ephemeral = from_hex_exactly<32>(point);
    EXPECT_FALSE(consume(response));
    EXPECT_EQ(initiator_.handshake.state(), HandshakeState::created_initiation);
  }
}

TEST_F(Noise, WithoutAnIdentityNothingCanBeCreatedOrConsumed) {
  const HandshakeInitiation initiation = initiate(1);
  EXPECT_FALSE(initiator_.handshake.precompute_static_static(StaticIdentity()));
  HandshakeInitiation message;
  EXPECT_FALSE(initiator_.handshake.create_initiation(StaticIdentity(), 1, stamp(2), message));
  EXPECT_FALSE(initiator_.handshake.create_initiation(initiator_.identity, 1, stamp(2), message));
  auto opened = open_initiation(responder_.identity, initiation);
  ASSERT_TRUE(opened);
  EXPECT_FALSE(responder_.handshake.precompute_static_static(StaticIdentity()));
  EXPECT_EQ(responder_.handshake.consume_initiation(*opened, kStart), InitiationVerdict::bad);
}

TEST_F(Noise, ANewIdentityDropsWhatWasPendingAndWorksFromThenOn) {
  const HandshakeResponse response = exchange(1, kStart);
  initiator_.identity = StaticIdentity(secret(vectors::kInitiatorEphemeral));
  EXPECT_TRUE(initiator_.handshake.precompute_static_static(initiator_.identity));
  EXPECT_EQ(initiator_.handshake.state(), HandshakeState::zeroed);
  EXPECT_FALSE(consume(response));
  responder_.handshake = Handshake(initiator_.identity.public_key());
  EXPECT_TRUE(responder_.handshake.precompute_static_static(responder_.identity));
  EXPECT_TRUE(consume(exchange(2, kStart)));
  expect_a_common_session();
}

TEST_F(Noise, AnInitiationFromThePeerReplacesOurOwnPendingOne) {
  HandshakeInitiation ours;
  ASSERT_TRUE(responder_.handshake.create_initiation(responder_.identity, 5, stamp(1), ours));
  EXPECT_TRUE(consume(exchange(1, kStart)));
  expect_a_common_session();
}

TEST_F(Noise, ClearDropsAPendingHandshakeAndKeepsTheKeys) {
  const HandshakeResponse response = exchange(1, kStart);
  initiator_.handshake.clear();
  EXPECT_EQ(initiator_.handshake.local_index(), std::nullopt);
  EXPECT_FALSE(consume(response));
  EXPECT_TRUE(consume(exchange(2, kStart + 1s)));
  expect_a_common_session();
}

}  // namespace
}  // namespace culvert::protocol
