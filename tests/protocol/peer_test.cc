#include "src/protocol/peer.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace culvert::protocol {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Instant kBegin{seconds(5000)};
constexpr WallTime kWall{seconds(1'700'000'000)};

StaticIdentity identity_of(uint8_t seed) {
  PrivateKey key;
  for (uint8_t& byte : key.bytes()) byte = seed++;
  return StaticIdentity(std::move(key));
}

// One side: an identity, a peer, an index table, and what a device does with them.
struct Side : PeerTag {
  Side(uint8_t seed, const PublicKey& remote)
      : identity(identity_of(seed)),
        peer(remote, this, seed % kHomeSlots),
        random([engine = std::mt19937(seed)]() mutable { return static_cast<uint32_t>(engine()); }) {
    usable = peer.set_identity(identity, indices);
    (void)peer.start();
  }

  void retire(RetiredKeypairs& retired) {
    for (std::unique_ptr<Keypair>& keypair : retired) {
      EXPECT_EQ(indices.find(keypair->local_index()), nullptr) << "what is retired is found no more";
      graveyard.push_back(std::move(keypair));
    }
  }

  std::optional<HandshakeInitiation> initiate(Instant now) {
    const Duration since_begin = now - kBegin;
    return peer.create_initiation(identity, now, kWall + since_begin, jitter, indices, random);
  }

  std::optional<HandshakeResponse> respond(const HandshakeInitiation& message, Instant now) {
    std::optional<OpenedInitiation> opened = open_initiation(identity, message);
    if (!opened || opened->remote_static != peer.public_key()) return std::nullopt;
    if (peer.consume_initiation(*opened, now) != InitiationVerdict::ok) return std::nullopt;
    RetiredKeypairs retired;
    std::optional<HandshakeResponse> response = peer.create_response(now, jitter, indices, random, retired);
    retire(retired);
    return response;
  }

  bool complete(const HandshakeResponse& message, Instant now) {
    if (indices.find_handshake(message.receiver_index) != this) return false;
    RetiredKeypairs retired;
    const bool ok = peer.consume_response(identity, message, now, kWall + (now - kBegin), indices, retired);
    retire(retired);
    return ok;
  }

  // An authentic message came in on this keypair.
  bool receive_on(uint32_t index, Instant now) {
    Keypair* keypair = indices.find(index);
    if (keypair == nullptr || !keypair->usable_for_receiving(now)) return false;
    if (keypair->confirm()) {
      RetiredKeypairs retired;
      (void)peer.received_with(keypair, kWall + (now - kBegin), indices, retired);
      retire(retired);
    }
    return true;
  }

  // The index table holds what the peer holds, no more and no less.
  void check_indices() {
    std::set<const Keypair*> held = {peer.keypairs().previous(), peer.keypairs().current(), peer.keypairs().next()};
    held.erase(nullptr);
    for (const Keypair* keypair : held) EXPECT_EQ(indices.find(keypair->local_index()), keypair);
    const size_t handshakes = indices.size() - held.size();
    EXPECT_LE(handshakes, 1u);
  }

  bool usable = false;
  StaticIdentity identity;
  IndexTable indices;
  Peer peer;
  IndexRandom random;
  Duration jitter = milliseconds(100);
  std::vector<std::unique_ptr<Keypair>> graveyard;
};

class PeerTest : public ::testing::Test {
 protected:
  // A whole handshake from `a` to `b`, confirmed by a first message.
  void shake_hands(Side& a, Side& b, Instant now) {
    const auto initiation = a.initiate(now);
    ASSERT_TRUE(initiation);
    const auto response = b.respond(*initiation, now);
    ASSERT_TRUE(response);
    ASSERT_TRUE(a.complete(*response, now));
    ASSERT_TRUE(b.receive_on(a.peer.current_keypair()->remote_index(), now));
  }

  Side alice{1, identity_of(100).public_key()};
  Side bob{100, identity_of(1).public_key()};
};

bool match(const Keypair& a, const Keypair& b) {
  return std::equal(a.sending_key(), a.sending_key() + 32, b.receiving_key()) &&
         std::equal(a.receiving_key(), a.receiving_key() + 32, b.sending_key()) &&
         a.local_index() == b.remote_index() && a.remote_index() == b.local_index();
}

TEST_F(PeerTest, KeepsItsHomeSlotThroughRekeys) {
  Instant now = kBegin;
  std::set<uint32_t> indices;
  for (int i = 0; i < 20; ++i, now += seconds(10)) {
    shake_hands(i % 2 == 0 ? alice : bob, i % 2 == 0 ? bob : alice, now);
    const uint32_t index = alice.peer.current_keypair()->local_index();
    EXPECT_EQ(top_byte_of(index), alice.peer.home_slot());
    EXPECT_EQ(top_byte_of(alice.peer.current_keypair()->remote_index()), bob.peer.home_slot());
    EXPECT_TRUE(indices.insert(index).second);
  }
}

TEST_F(PeerTest, SpreadsFromTheNextHandshakeOn) {
  alice.peer.set_spread(true);
  EXPECT_EQ(alice.peer.home_slot(), 1u);
  shake_hands(alice, bob, kBegin);
  EXPECT_EQ(top_byte_of(alice.peer.current_keypair()->local_index()), 1 | kSpreadBit);
  EXPECT_EQ(top_byte_of(alice.peer.current_keypair()->remote_index()), bob.peer.home_slot());
  alice.peer.set_spread(false);
  shake_hands(bob, alice, kBegin + seconds(10));
  EXPECT_EQ(top_byte_of(alice.peer.current_keypair()->local_index()), 1u);
}

TEST_F(PeerTest, OrdinaryKeysAreUsable) {
  EXPECT_TRUE(alice.usable);
  EXPECT_TRUE(bob.usable);
}

TEST_F(PeerTest, HandshakeGivesBothSidesMatchingKeypairs) {
  const auto initiation = alice.initiate(kBegin);
  ASSERT_TRUE(initiation);
  EXPECT_TRUE(Mac1Key(bob.identity.public_key()).verify(wire_bytes(*initiation)));
  EXPECT_EQ(alice.indices.find_handshake(initiation->sender_index), &alice);
  EXPECT_FALSE(alice.peer.last_handshake());

  const auto response = bob.respond(*initiation, kBegin);
  ASSERT_TRUE(response);
  EXPECT_TRUE(Mac1Key(alice.identity.public_key()).verify(wire_bytes(*response)));
  EXPECT_EQ(bob.peer.current_keypair(), nullptr) << "not before it is confirmed";
  ASSERT_NE(bob.peer.keypairs().next(), nullptr);
  EXPECT_NE(bob.indices.find(response->sender_index), nullptr) << "but it receives";
  EXPECT_FALSE(bob.peer.last_handshake());

  ASSERT_TRUE(alice.complete(*response, kBegin + seconds(1)));
  ASSERT_NE(alice.peer.current_keypair(), nullptr);
  EXPECT_EQ(alice.peer.last_handshake(), kWall + seconds(1));
  EXPECT_EQ(alice.indices.find_handshake(initiation->sender_index), nullptr);
  EXPECT_EQ(alice.indices.find(initiation->sender_index), alice.peer.current_keypair());
  EXPECT_EQ(alice.peer.current_keypair()->owner(), alice.peer.handle());

  ASSERT_TRUE(bob.receive_on(response->sender_index, kBegin + seconds(2)));
  ASSERT_NE(bob.peer.current_keypair(), nullptr);
  EXPECT_EQ(bob.peer.last_handshake(), kWall + seconds(2));
  EXPECT_TRUE(match(*alice.peer.current_keypair(), *bob.peer.current_keypair()));
  EXPECT_TRUE(alice.peer.current_keypair()->i_am_initiator());
  EXPECT_FALSE(bob.peer.current_keypair()->i_am_initiator());
  EXPECT_EQ(alice.indices.size(), 1u);
  EXPECT_EQ(bob.indices.size(), 1u);
}

TEST_F(PeerTest, RekeyingKeepsTwoGenerations) {
  for (int i = 0; i < 4; ++i) {
    shake_hands(alice, bob, kBegin + i * kRekeyAfterTime);
    alice.check_indices();
    bob.check_indices();
  }
  EXPECT_EQ(alice.indices.size(), 2u);
  EXPECT_EQ(bob.indices.size(), 2u);
  EXPECT_EQ(alice.graveyard.size(), 2u);
  EXPECT_EQ(bob.graveyard.size(), 2u);
  EXPECT_TRUE(match(*alice.peer.current_keypair(), *bob.peer.current_keypair()));
}

TEST_F(PeerTest, InitiationsAreThrottled) {
  EXPECT_TRUE(alice.initiate(kBegin));
  EXPECT_FALSE(alice.initiate(kBegin + seconds(4)));
  EXPECT_EQ(alice.indices.size(), 1u);
  EXPECT_FALSE(alice.initiate(kBegin + seconds(5))) << "not without jitter";
  EXPECT_TRUE(alice.initiate(kBegin + milliseconds(5100)));
  EXPECT_EQ(alice.indices.size(), 1u) << "the index of the one before is free again";
  EXPECT_EQ(alice.peer.timers().next_deadline(), kBegin + milliseconds(10'200));
}

TEST_F(PeerTest, ResponseToAReplacedInitiationIsNotFound) {
  const auto first = alice.initiate(kBegin);
  const auto late_response = bob.respond(*first, kBegin);
  const auto second = alice.initiate(kBegin + seconds(6));
  ASSERT_TRUE(second);
  EXPECT_FALSE(alice.complete(*late_response, kBegin + seconds(6)));
  const auto response = bob.respond(*second, kBegin + seconds(6));
  ASSERT_TRUE(response);
  EXPECT_TRUE(alice.complete(*response, kBegin + seconds(6)));
}

TEST_F(PeerTest, ForgedResponseChangesNothing) {
  const auto initiation = alice.initiate(kBegin);
  auto response = bob.respond(*initiation, kBegin);
  HandshakeResponse forged = *response;
  forged.encrypted_nothing[3] ^= 1;
  EXPECT_FALSE(alice.complete(forged, kBegin));
  EXPECT_EQ(alice.peer.current_keypair(), nullptr);
  EXPECT_TRUE(alice.complete(*response, kBegin)) << "the right one still counts";
  EXPECT_FALSE(alice.complete(*response, kBegin)) << "and counts once";
}

TEST_F(PeerTest, ReplayedInitiationChangesNothing) {
  const auto initiation = alice.initiate(kBegin);
  ASSERT_TRUE(bob.respond(*initiation, kBegin));
  const Keypair* next = bob.peer.keypairs().next();
  EXPECT_FALSE(bob.respond(*initiation, kBegin + seconds(1)));
  EXPECT_EQ(bob.peer.keypairs().next(), next);
  bob.check_indices();
}

TEST_F(PeerTest, PresharedKeysMustAgree) {
  SymmetricKey key;
  key.data()[0] = 1;
  alice.peer.set_preshared_key(key);
  const auto initiation = alice.initiate(kBegin);
  const auto response = bob.respond(*initiation, kBegin);
  ASSERT_TRUE(response);
  EXPECT_FALSE(alice.complete(*response, kBegin));
  bob.peer.set_preshared_key(key);
  EXPECT_TRUE(bob.peer.preshared_key() == key);
  shake_hands(alice, bob, kBegin + seconds(6));
}

TEST_F(PeerTest, LowOrderKeyStartsNoHandshakeAndIsNotAskedAgainAtOnce) {
  Side side(7, PublicKey{});
  EXPECT_FALSE(side.usable);
  EXPECT_FALSE(side.initiate(kBegin));
  EXPECT_EQ(side.indices.size(), 0u);
  EXPECT_FALSE(side.peer.marks().may_initiate(kBegin + seconds(4)));
  EXPECT_EQ(side.peer.timers().next_deadline(), std::nullopt) << "there is nothing to retry";
}

TEST_F(PeerTest, CookieReplyPutsMac2IntoTheNextMessage) {
  CookieChecker checker(bob.identity.public_key());
  const std::vector<uint8_t> source = {192, 0, 2, 1, 0x12, 0x34};
  const auto first = alice.initiate(kBegin);
  EXPECT_EQ(checker.validate(wire_bytes(*first), source, kBegin), MacVerdict::valid_mac_no_cookie);
  CookieReply reply;
  checker.create_cookie_reply(wire_bytes(*first), first->sender_index, source, kBegin, reply);
  ASSERT_EQ(alice.indices.find_peer(reply.receiver_index), &alice);
  CookieReply forged = reply;
  forged.encrypted_cookie[0] ^= 1;
  EXPECT_FALSE(alice.peer.consume_cookie_reply(forged, kBegin));
  EXPECT_TRUE(alice.peer.consume_cookie_reply(reply, kBegin));
  const auto second = alice.initiate(kBegin + seconds(6));
  EXPECT_EQ(checker.validate(wire_bytes(*second), source, kBegin + seconds(6)), MacVerdict::valid_mac_with_cookie);
}

TEST_F(PeerTest, NewIdentityStopsSendingButNotReceiving) {
  shake_hands(alice, bob, kBegin);
  Keypair* keypair = alice.peer.current_keypair();
  (void)alice.initiate(kBegin + seconds(6));
  EXPECT_EQ(alice.indices.size(), 2u);

  alice.identity = identity_of(2);
  EXPECT_TRUE(alice.peer.set_identity(alice.identity, alice.indices));
  EXPECT_FALSE(keypair->usable_for_sending(kBegin));
  EXPECT_TRUE(keypair->usable_for_receiving(kBegin));
  EXPECT_EQ(alice.indices.size(), 1u) << "the pending handshake is gone";
  EXPECT_TRUE(alice.initiate(kBegin + seconds(6))) << "the throttle was lifted";
}

TEST_F(PeerTest, StoppingAndWipingHandBackEverything) {
  shake_hands(alice, bob, kBegin);
  shake_hands(bob, alice, kBegin + seconds(10));
  (void)alice.initiate(kBegin + seconds(20));
  EXPECT_EQ(alice.indices.size(), 3u);
  RetiredKeypairs retired = alice.peer.clear_keys(alice.indices);
  EXPECT_EQ(retired.size(), 2u);
  EXPECT_EQ(alice.indices.size(), 0u);
  EXPECT_EQ(alice.peer.current_keypair(), nullptr);
  EXPECT_TRUE(alice.peer.timers().next_deadline()) << "the timers go on";

  EXPECT_EQ(bob.peer.stop(bob.indices).size(), 2u);
  EXPECT_EQ(bob.indices.size(), 0u);
  EXPECT_FALSE(bob.peer.timers().next_deadline());
  EXPECT_TRUE(bob.peer.last_handshake()) << "what wg(8) shows stays";
}

TEST_F(PeerTest, KeysAreWipedWhenTheTimerSaysSo) {
  shake_hands(alice, bob, kBegin);
  bool wiped = false;
  while (const auto deadline = bob.peer.timers().next_deadline()) {
    const TimerActions actions = bob.peer.timers().advance(*deadline, Duration(0));
    if (!actions.wipe_keys) continue;
    EXPECT_EQ(*deadline, kBegin + kKeyWipeTime);
    EXPECT_EQ(bob.peer.clear_keys(bob.indices).size(), 1u);
    wiped = true;
  }
  EXPECT_TRUE(wiped);
}

TEST_F(PeerTest, BothInitiatingAtOnceStillLeavesACommonKeypair) {
  const auto from_alice = alice.initiate(kBegin);
  const auto from_bob = bob.initiate(kBegin);
  const auto bobs_response = bob.respond(*from_alice, kBegin + milliseconds(20));
  const auto alices_response = alice.respond(*from_bob, kBegin + milliseconds(20));
  ASSERT_TRUE(bobs_response && alices_response);
  // Each has dropped its own initiation for the other's, as the kernel does: both are responders now.
  EXPECT_FALSE(alice.complete(*bobs_response, kBegin + milliseconds(40)));
  EXPECT_FALSE(bob.complete(*alices_response, kBegin + milliseconds(40)));
  alice.check_indices();
  bob.check_indices();
  // The retry settles it.
  shake_hands(alice, bob, kBegin + milliseconds(5200));
  EXPECT_TRUE(match(*alice.peer.current_keypair(), *bob.peer.current_keypair()));
}

// Two sides that both have a packet to send every 2 ms, with messages that are under way for a while.
class SteadyTraffic {
 public:
  SteadyTraffic(Side& first, Side& second, Duration latency, uint32_t seed)
      : first_(first), second_(second), latency_(latency), random_(seed) {}

  // Starts both at the same time. Returns how long it takes until one of them can send.
  Duration until_keypair(bool second_draws_jitter, Duration limit) {
    for (Instant now = kBegin; now < kBegin + limit; now += milliseconds(2)) {
      deliver(now);
      for (const Side* side : {&first_, &second_})
        if (side->peer.current_keypair() != nullptr) return now - kBegin;
      pass_packet(first_, now, true);
      pass_packet(second_, now, second_draws_jitter);
    }
    return limit;
  }

 private:
  template <typename Message>
  struct UnderWay {
    Instant arrival;
    Side* target;
    Message message;
  };

  // What the device does with a packet for which there is no keypair.
  void pass_packet(Side& side, Instant now, bool draws_jitter) {
    side.jitter = milliseconds(draws_jitter ? random_() % 334 : 0);
    (void)side.peer.marks().want_handshake(now);
    if (!side.peer.timers().advance(now, side.jitter).send_initiation) return;
    if (const auto message = side.initiate(now)) initiations_.push_back({now + latency_, &other(side), *message});
  }

  void deliver(Instant now) {
    for (; !initiations_.empty() && initiations_.front().arrival <= now; initiations_.pop_front()) {
      Side& target = *initiations_.front().target;
      if (const auto response = target.respond(initiations_.front().message, now))
        responses_.push_back({now + latency_, &other(target), *response});
    }
    for (; !responses_.empty() && responses_.front().arrival <= now; responses_.pop_front())
      (void)responses_.front().target->complete(responses_.front().message, now);
  }

  Side& other(const Side& side) { return &side == &first_ ? second_ : first_; }

  Side& first_;
  Side& second_;
  const Duration latency_;
  std::mt19937 random_;
  std::deque<UnderWay<HandshakeInitiation>> initiations_;
  std::deque<UnderWay<HandshakeResponse>> responses_;
};

// If data alone said when to try again, both would do so 5 s after they had answered each other, and so on for ever.
TEST_F(PeerTest, HandshakesThatCrossUnderTrafficDoNotCrossAgainAndAgain) {
  for (const bool second_draws_jitter : {true, false}) {  // the kernel module and wireguard-go do not
    for (uint32_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(seed);
      Side first(1, identity_of(100).public_key()), second(100, identity_of(1).public_key());
      SteadyTraffic traffic(first, second, milliseconds(10), seed);
      const Duration took = traffic.until_keypair(second_draws_jitter, seconds(60));
      EXPECT_GT(took, seconds(5)) << "the first ones crossed";
      EXPECT_LT(took, seconds(20));
    }
  }
}

// Messages get lost, delayed and doubled at random, both sides initiate, stop and change: whatever happens, the
// index tables hold what the peers hold, and a quiet network brings them together again.
TEST_F(PeerTest, RandomHandshakesLeaveNoStrayIndexAndNoLostKeypair) {
  std::mt19937 random(5);
  Instant now = kBegin;
  std::deque<std::pair<Side*, HandshakeInitiation>> initiations;
  std::deque<std::pair<Side*, HandshakeResponse>> responses;
  for (int i = 0; i < 2000; ++i) {
    now += milliseconds(random() % 4000);
    Side& side = random() % 2 == 0 ? alice : bob;
    Side& other = &side == &alice ? bob : alice;
    switch (random() % 16) {
      case 0:
      case 1:
      case 2:
        if (const auto message = side.initiate(now)) initiations.emplace_back(&other, *message);
        break;
      case 3:
      case 4:
      case 5:
      case 6:
        if (initiations.empty()) break;
        if (const auto message = initiations.front().first->respond(initiations.front().second, now))
          responses.emplace_back(initiations.front().first == &alice ? &bob : &alice, *message);
        if (random() % 4 != 0) initiations.pop_front();
        break;
      case 7:
      case 8:
      case 9:
      case 10:
        if (responses.empty()) break;
        (void)responses.front().first->complete(responses.front().second, now);
        if (random() % 4 != 0) responses.pop_front();
        break;
      case 11:
      case 12:
      case 13:
        if (side.peer.current_keypair() != nullptr)
          (void)other.receive_on(side.peer.current_keypair()->remote_index(), now);
        break;
      case 14:
        if (random() % 20 == 0) {
          RetiredKeypairs retired = side.peer.clear_keys(side.indices);
          side.retire(retired);
        }
        break;
      default:
        if (random() % 20 == 0) {
          RetiredKeypairs retired = side.peer.stop(side.indices);
          side.retire(retired);
          EXPECT_EQ(side.indices.size(), 0u);
          (void)side.peer.start();
        }
        break;
    }
    side.check_indices();
    other.check_indices();
  }
  now += seconds(10);
  shake_hands(alice, bob, now);
  EXPECT_TRUE(match(*alice.peer.current_keypair(), *bob.peer.current_keypair()));
}

}  // namespace
}  // namespace culvert::protocol
