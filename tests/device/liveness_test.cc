#include "src/device/liveness.h"

#include <gtest/gtest.h>

namespace culvert::device {
namespace {

using protocol::Duration;
using protocol::Instant;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Wish = Liveness::Wish;

constexpr Instant kStart{std::chrono::hours(1)};

// A member whose peer, keys and traffic are the test's to choose, and a device that does what it wishes for and looks
// when it says.
struct Member {
  Member() {
    signs.can_send = signs.has_endpoint = true;
    (void)liveness.look(signs, now);
  }

  // Sends data: a message each tenth of a second.
  void send_data() {
    signs.sent_bytes += 100;
    has_traffic = signs.group_has_traffic = true;
    if (!signs.unanswered_since) signs.unanswered_since = now;
  }
  void hear() {
    signs.received_bytes += 100;
    signs.unanswered_since.reset();
  }
  void initiate() {
    liveness.initiated(signs.received_bytes, now);
    initiated.push_back(now);
    next_look = liveness.next_look(has_traffic, now);
  }
  void look() {
    const Wish wish = liveness.look(signs, now);
    if (wish != Wish::nothing && initiates) initiate();
    next_look = liveness.next_look(has_traffic, now);
  }

  // Lets time pass, `each_step` first, until the member is as wanted or `most` is over. How long that was. The first
  // traffic is looked at at once, as a worker asks for attention.
  template <typename Step>
  Duration run_until(bool alive, Duration most, Step&& each_step) {
    const Instant before = now;
    for (; now - before < most && liveness.alive() != alive; now += milliseconds(100)) {
      each_step();
      if (next_look ? *next_look > now : !has_traffic) continue;
      look();
    }
    return now - before;
  }

  Liveness liveness;
  Liveness::Signs signs;
  bool has_traffic = false;
  Instant now = kStart;
  std::optional<Instant> next_look;
  std::vector<Instant> initiated;
  bool initiates = true;
};

TEST(Liveness, BelievesInAMemberUntilItFails) {
  EXPECT_TRUE(Liveness().alive());
}

TEST(Liveness, LeavesAMemberAloneThatAnswers) {
  Member member;
  const auto both_ways = [&] {
    member.send_data();
    member.hear();
  };
  EXPECT_EQ(member.run_until(false, seconds(600), both_ways), seconds(600));
  EXPECT_TRUE(member.initiated.empty());
}

TEST(Liveness, FindsAMemberDeadAfterRekeyTimeoutThatFellSilent) {
  Member member;
  (void)member.run_until(
      false, seconds(60),
      [&] {
        member.send_data();
        member.hear();
      });
  const Duration took = member.run_until(false, seconds(60), [&] { member.send_data(); });
  EXPECT_LE(took, protocol::kRekeyTimeout + milliseconds(100));
  EXPECT_GE(took, Liveness::kSilence);
  EXPECT_EQ(member.initiated.size(), 3u) << "it was asked, asked again, and then probed";
}

// Only handshakes come back: traffic runs one way, and no keepalive is due for 10 s.
TEST(Liveness, KeepsAMemberThatAnswersNothingButHandshakes) {
  Member member;
  size_t answered = 0;
  const auto one_way = [&] {
    member.send_data();
    if (answered == member.initiated.size()) return;
    answered = member.initiated.size();
    member.hear();
  };
  EXPECT_EQ(member.run_until(false, seconds(60), one_way), seconds(60));
  EXPECT_GE(answered, 10u);
  EXPECT_LE(answered, 20u) << "asked once in kSilence";
}

TEST(Liveness, KeepsAMemberThatLosesEverySecondAnswer) {
  Member member;
  size_t seen = 0;
  const auto lossy = [&] {
    member.send_data();
    if (seen == member.initiated.size()) return;
    seen = member.initiated.size();
    if (seen % 2 == 0) member.hear();
  };
  EXPECT_EQ(member.run_until(false, seconds(60), lossy), seconds(60));
}

TEST(Liveness, AsksNobodyWhoseTrafficIsOver) {
  Member member;
  member.send_data();
  EXPECT_EQ(member.run_until(false, seconds(60), [] {}), seconds(60));
  EXPECT_TRUE(member.initiated.empty());
}

TEST(Liveness, CallsAMemberWithoutKeypairOnceItsGroupHasTraffic) {
  Member member;
  member.signs.can_send = false;
  member.look();
  EXPECT_TRUE(member.initiated.empty());
  member.signs.group_has_traffic = true;
  member.look();
  EXPECT_EQ(member.initiated.size(), 1u);
  member.look();
  EXPECT_EQ(member.initiated.size(), 1u) << "it has time to answer";
}

TEST(Liveness, TakesWhatWasSentLongAgoForNoTraffic) {
  Member member;
  member.signs.sent_bytes += 148;
  member.now += protocol::kKeyWipeTime;
  member.look();
  EXPECT_FALSE(member.liveness.has_sent());
  member.signs.sent_bytes += 148;
  member.now += seconds(1);
  member.look();
  EXPECT_TRUE(member.liveness.has_sent());
}

TEST(Liveness, DoesNotLookAtAnIdleMember) {
  Member member;
  member.look();
  EXPECT_EQ(member.next_look, std::nullopt);
}

TEST(Liveness, FindsAMemberDeadThatNeverAnsweredItsHandshake) {
  Member member;
  member.signs.can_send = false;
  member.look();
  member.initiate();
  EXPECT_EQ(member.run_until(false, seconds(60), [] {}), Liveness::kGiveUp + milliseconds(100));
  EXPECT_EQ(member.initiated.size(), 2u);
}

TEST(Liveness, TakesNoDataForAnAnswerOfAMemberWithoutKeypair) {
  Member member;
  member.signs.can_send = false;
  member.look();
  member.initiate();
  EXPECT_EQ(member.run_until(false, seconds(60), [&] { member.hear(); }), Liveness::kGiveUp + milliseconds(100));
  member.signs.can_send = true;
  member.look();
  EXPECT_TRUE(member.liveness.alive());
}

TEST(Liveness, TakesWhatCameBeforeForNoAnswer) {
  Member member;
  member.hear();
  member.initiate();
  member.now += Liveness::kGiveUp;
  member.look();
  EXPECT_FALSE(member.liveness.alive());
}

TEST(Liveness, ProbesADeadMemberWhileItsGroupHasTrafficAndTakesItBack) {
  Member member;
  member.initiate();
  member.now += Liveness::kGiveUp;
  member.look();
  ASSERT_FALSE(member.liveness.alive());
  EXPECT_EQ(member.next_look, std::nullopt) << "its group is idle";

  member.initiated.clear();
  member.signs.group_has_traffic = true;
  member.look();
  (void)member.run_until(true, seconds(60), [] {});
  EXPECT_GE(member.initiated.size(), 10u);
  EXPECT_LE(member.initiated.size(), 13u) << "one each kProbeInterval";

  member.hear();
  member.look();
  EXPECT_TRUE(member.liveness.alive());
  EXPECT_EQ(member.run_until(false, seconds(60), [&] { member.hear(); }), seconds(60)) << "and it stays";
}

TEST(Liveness, ExcludesAMemberWithoutAnEndpointAtOnce) {
  Member member;
  member.signs.has_endpoint = false;
  member.look();
  EXPECT_FALSE(member.liveness.alive());
  EXPECT_TRUE(member.initiated.empty());
  member.signs.has_endpoint = true;
  member.look();
  EXPECT_TRUE(member.liveness.alive());
}

// Whoever may not ask now (the device has a limit) looks again soon, and nobody is dead without having been asked.
TEST(Liveness, FindsNobodyDeadWhoWasNotAsked) {
  Member member;
  member.initiates = false;
  EXPECT_EQ(member.run_until(false, seconds(60), [&] { member.send_data(); }), seconds(60));
  member.initiates = true;
  EXPECT_LE(member.run_until(false, seconds(60), [&] { member.send_data(); }), seconds(4));
}

}  // namespace
}  // namespace culvert::device
