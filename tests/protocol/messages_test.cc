#include "src/protocol/messages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/hex.h"

namespace culvert::protocol {
namespace {

using tests::counting_bytes;
using tests::to_hex;

TEST(LittleEndian, StandsOnTheWireWithTheLowByteFirst) {
  const Le32 four = 0x01020304;
  const Le64 eight = 0x0102030405060708;
  EXPECT_EQ(to_hex(wire_bytes(four)), "04030201");
  EXPECT_EQ(to_hex(wire_bytes(eight)), "0807060504030201");
  EXPECT_EQ(four, 0x01020304U);
  EXPECT_EQ(eight, 0x0102030405060708U);
  EXPECT_EQ(read_message<Le32>(counting_bytes(4)), 0x03020100U);
  static_assert(Le64(UINT64_MAX - 1) == UINT64_MAX - 1);
}

// Fills an array of the message with bytes that count up from `first`.
template <size_t N>
void fill(std::array<uint8_t, N>& field, uint8_t first) {
  const auto bytes = counting_bytes(N, first);
  std::copy(bytes.begin(), bytes.end(), field.begin());
}

TEST(Messages, AnInitiationHasItsGoldenBytes) {
  HandshakeInitiation message;
  message.type = 1;
  message.sender_index = 0xa1a2a3a4;
  fill(message.unencrypted_ephemeral, 0x00);
  fill(message.encrypted_static, 0x20);
  fill(message.encrypted_timestamp, 0x50);
  fill(message.macs.mac1, 0x70);
  fill(message.macs.mac2, 0x80);
  EXPECT_EQ(to_hex(wire_bytes(message)), "01000000a4a3a2a1" + to_hex(counting_bytes(32)) +
                                             to_hex(counting_bytes(48, 0x20)) + to_hex(counting_bytes(28, 0x50)) +
                                             to_hex(counting_bytes(32, 0x70)));
  EXPECT_EQ(classify(wire_bytes(message)), MessageKind::handshake_initiation);
}

TEST(Messages, AResponseHasItsGoldenBytes) {
  HandshakeResponse message;
  message.type = 2;
  message.sender_index = 0xa1a2a3a4;
  message.receiver_index = 0xb1b2b3b4;
  fill(message.unencrypted_ephemeral, 0x00);
  fill(message.encrypted_nothing, 0x20);
  fill(message.macs.mac1, 0x30);
  fill(message.macs.mac2, 0x40);
  EXPECT_EQ(to_hex(wire_bytes(message)), "02000000a4a3a2a1b4b3b2b1" + to_hex(counting_bytes(80)));
  EXPECT_EQ(classify(wire_bytes(message)), MessageKind::handshake_response);
}

TEST(Messages, ACookieReplyHasItsGoldenBytes) {
  CookieReply message;
  message.type = 3;
  message.receiver_index = 0xb1b2b3b4;
  fill(message.nonce, 0x00);
  fill(message.encrypted_cookie, 0x18);
  EXPECT_EQ(to_hex(wire_bytes(message)), "03000000b4b3b2b1" + to_hex(counting_bytes(56)));
  EXPECT_EQ(classify(wire_bytes(message)), MessageKind::cookie_reply);
}

TEST(Messages, ATransportHeaderHasItsGoldenBytes) {
  TransportHeader header;
  header.type = static_cast<uint32_t>(MessageType::transport_data);
  header.receiver_index = 0xb1b2b3b4;
  header.counter = 0x0102030405060708;
  EXPECT_EQ(to_hex(wire_bytes(header)), "04000000b4b3b2b10807060504030201");
}

TEST(Messages, AreReadBackAsTheyWereWritten) {
  const auto bytes = counting_bytes(sizeof(HandshakeResponse));
  const auto message = read_message<HandshakeResponse>(bytes);
  EXPECT_EQ(message.sender_index, 0x07060504U);
  EXPECT_EQ(message.receiver_index, 0x0b0a0908U);
  EXPECT_EQ(to_hex(wire_bytes(message)), to_hex(bytes));
}

struct ClassifyCase {
  const char* name;
  std::array<uint8_t, 4> start;
  size_t length;
  MessageKind expected;
};

constexpr ClassifyCase kClassifyCases[] = {
    {"an initiation", {1}, 148, MessageKind::handshake_initiation},
    {"an initiation a byte short", {1}, 147, MessageKind::dishonest_length},
    {"an initiation a byte long", {1}, 149, MessageKind::dishonest_length},
    {"an initiation with the length of a response", {1}, 92, MessageKind::dishonest_length},
    {"a response", {2}, 92, MessageKind::handshake_response},
    {"a response a byte short", {2}, 91, MessageKind::dishonest_length},
    {"a response a byte long", {2}, 93, MessageKind::dishonest_length},
    {"a cookie reply", {3}, 64, MessageKind::cookie_reply},
    {"a cookie reply a byte short", {3}, 63, MessageKind::dishonest_length},
    {"a cookie reply a byte long", {3}, 65, MessageKind::dishonest_length},
    {"a keepalive", {4}, 32, MessageKind::transport_data},
    {"transport data a byte short of a keepalive", {4}, 31, MessageKind::dishonest_length},
    {"transport data without a header", {4}, 4, MessageKind::dishonest_length},
    {"transport data of a length that is no multiple of 16", {4}, 33, MessageKind::transport_data},
    {"transport data as long as a datagram can be", {4}, 65527, MessageKind::transport_data},
    {"nothing at all", {4}, 0, MessageKind::unknown_type},
    {"too little for a type", {4}, 3, MessageKind::unknown_type},
    {"type 0", {0}, 148, MessageKind::unknown_type},
    {"type 5", {5}, 148, MessageKind::unknown_type},
    {"type 255", {255}, 148, MessageKind::unknown_type},
    {"first reserved byte in use", {4, 1, 0, 0}, 64, MessageKind::unknown_type},
    {"second reserved byte in use", {1, 0, 1, 0}, 148, MessageKind::unknown_type},
    {"third reserved byte in use", {4, 0, 0, 0x80}, 64, MessageKind::unknown_type},
};

TEST(Classify, TellsMessagesFromMalformedDatagramsByTypeAndLength) {
  for (const ClassifyCase& c : kClassifyCases) {
    SCOPED_TRACE(c.name);
    // Of exactly that length, so that a sanitizer sees a read past the end.
    std::vector<uint8_t> datagram(c.length);
    std::copy_n(c.start.begin(), std::min(c.start.size(), c.length), datagram.begin());
    const MessageKind kind = classify(datagram);
    EXPECT_EQ(kind, c.expected);
    EXPECT_EQ(is_malformed(kind), kind == MessageKind::unknown_type || kind == MessageKind::dishonest_length);
    EXPECT_EQ(is_handshake(kind), !is_malformed(kind) && kind != MessageKind::transport_data);
  }
}

struct PaddingCase {
  const char* name;
  size_t length;
  size_t mtu;
  size_t expected;
};

constexpr PaddingCase kPaddingCases[] = {
    {"a keepalive stays empty", 0, 1420, 0},
    {"one byte fills a block", 1, 1420, 16},
    {"a multiple of 16 stays", 64, 1420, 64},
    {"one more goes to the next multiple", 65, 1420, 80},
    {"the MTU is a limit", 1420, 1420, 1420},
    {"just below the MTU too", 1419, 1420, 1420},
    {"the last whole block below the MTU", 1408, 1420, 1408},
    {"a packet longer than the MTU is padded by its last part", 1430, 1420, 1436},
    {"a multiple of the MTU stays", 2840, 1420, 2840},
    {"the last part is limited by the MTU too", 1420 + 1419, 1420, 2840},
    {"without an MTU there is no limit", 1419, 0, 1424},
    {"without an MTU a multiple of 16 stays", 1424, 0, 1424},
    {"a tiny MTU", 5, 8, 8},
};

TEST(PaddedLength, FollowsTheKernel) {
  for (const PaddingCase& c : kPaddingCases) EXPECT_EQ(padded_length(c.length, c.mtu), c.expected) << c.name;
}

TEST(PaddedLength, NeverShrinksAndNeverAddsAWholeBlock) {
  for (size_t mtu = 0; mtu < 100; ++mtu) {
    for (size_t length = 0; length < 300; ++length) {
      const size_t padded = padded_length(length, mtu);
      ASSERT_GE(padded, length) << mtu;
      ASSERT_LT(padded, length + kPaddingMultiple) << mtu;
      if (mtu != 0 && length <= mtu) ASSERT_LE(padded, mtu);
    }
  }
}

TEST(Limits, AreThoseOfThePaper) {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  EXPECT_EQ(kRekeyAfterTime, seconds(120));
  EXPECT_EQ(kRejectAfterTime, seconds(180));
  EXPECT_EQ(kRekeyAttemptTime, seconds(90));
  EXPECT_EQ(kRekeyTimeout, seconds(5));
  EXPECT_EQ(kKeepaliveTimeout, seconds(10));
  EXPECT_EQ(kNewHandshakeTime, seconds(15));
  EXPECT_EQ(kRekeyOnReceiveTime, seconds(165));
  EXPECT_EQ(kKeyWipeTime, seconds(540));
  EXPECT_EQ(kInitiationInterval, milliseconds(20));
  EXPECT_EQ(kRekeyAfterMessages, 1152921504606846976U);
  EXPECT_EQ(kRejectAfterMessages, 18446744073709543423U);
}

}  // namespace
}  // namespace culvert::protocol
