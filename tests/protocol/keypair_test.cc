#include "src/protocol/keypair.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "src/protocol/messages.h"

namespace culvert::protocol {
namespace {

using std::chrono::seconds;

constexpr Instant kBirth{seconds(1000)};

std::unique_ptr<Keypair> make_keypair(bool initiator, uint32_t index = 1, uint64_t first_counter = 0) {
  KeypairParameters parameters;
  parameters.sending_key.data()[0] = 0x51;
  parameters.receiving_key.data()[0] = 0x52;
  parameters.created = kBirth;
  parameters.local_index = index;
  parameters.remote_index = index + 1000;
  parameters.i_am_initiator = initiator;
  parameters.first_counter = first_counter;
  return std::make_unique<Keypair>(std::move(parameters));
}

TEST(Keypair, KeepsWhatItWasMadeOf) {
  PeerTag owner;
  KeypairParameters parameters;
  parameters.sending_key.data()[31] = 7;
  parameters.receiving_key.data()[31] = 8;
  parameters.created = kBirth;
  parameters.local_index = 3;
  parameters.remote_index = 4;
  parameters.i_am_initiator = true;
  parameters.owner = &owner;
  const Keypair keypair(std::move(parameters));
  EXPECT_EQ(keypair.sending_key()[31], 7);
  EXPECT_EQ(keypair.receiving_key()[31], 8);
  EXPECT_EQ(keypair.created(), kBirth);
  EXPECT_EQ(keypair.local_index(), 3u);
  EXPECT_EQ(keypair.remote_index(), 4u);
  EXPECT_TRUE(keypair.i_am_initiator());
  EXPECT_EQ(keypair.owner(), &owner);
}

TEST(Keypair, ReservesCountersWithoutGapOrOverlap) {
  const auto keypair = make_keypair(true);
  uint64_t first = 99;
  ASSERT_TRUE(keypair->reserve(1, first));
  EXPECT_EQ(first, 0u);
  ASSERT_TRUE(keypair->reserve(128, first));
  EXPECT_EQ(first, 1u);
  ASSERT_TRUE(keypair->reserve(1, first));
  EXPECT_EQ(first, 129u);
  EXPECT_EQ(keypair->sent(), 130u);
}

TEST(Keypair, ReservesAllOfABatchOrNothingAtTheLimit) {
  const auto keypair = make_keypair(true, 1, kRejectAfterMessages - 10);
  uint64_t first = 99;
  EXPECT_FALSE(keypair->reserve(11, first));
  EXPECT_EQ(first, 99u);
  EXPECT_TRUE(keypair->usable_for_sending(kBirth));
  ASSERT_TRUE(keypair->reserve(10, first));
  EXPECT_EQ(first, kRejectAfterMessages - 10);
  EXPECT_FALSE(keypair->usable_for_sending(kBirth));
  EXPECT_FALSE(keypair->reserve(1, first));
  EXPECT_FALSE(keypair->reserve(UINT32_MAX, first)) << "the sum must not wrap";
  EXPECT_EQ(keypair->sent(), kRejectAfterMessages);
}

TEST(Keypair, RacingThreadsNeverPassTheLimit) {
  constexpr uint64_t kLeft = 10'000;
  const auto keypair = make_keypair(true, 1, kRejectAfterMessages - kLeft);
  std::atomic<uint64_t> reserved{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      uint64_t first = 0;
      for (uint32_t i = 0; i < 5000; ++i) {
        const uint32_t count = 1 + (i * 7 + t) % 31;
        if (!keypair->reserve(count, first)) continue;
        EXPECT_LE(first + count, kRejectAfterMessages);
        reserved += count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(reserved.load(), kLeft);
  EXPECT_EQ(keypair->sent(), kRejectAfterMessages - kLeft + reserved.load());
}

TEST(Keypair, EitherSideRekeysAfterTooManyMessages) {
  for (const bool initiator : {true, false}) {
    const auto keypair = make_keypair(initiator, 1, kRekeyAfterMessages - 1);
    EXPECT_FALSE(keypair->wants_rekey_after_send(kBirth));
    uint64_t first = 0;
    ASSERT_TRUE(keypair->reserve(1, first));
    EXPECT_TRUE(keypair->wants_rekey_after_send(kBirth));
  }
}

TEST(Keypair, RacingThreadsShareTheCountersWithoutOverlap) {
  const auto keypair = make_keypair(true);
  constexpr int kThreads = 4, kBatches = 5000;
  std::vector<std::vector<std::pair<uint64_t, uint32_t>>> taken(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kBatches; ++i) {
        const uint32_t count = 1 + (i + static_cast<uint32_t>(t)) % 128;
        uint64_t first = 0;
        if (keypair->reserve(count, first)) taken[static_cast<size_t>(t)].emplace_back(first, count);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  std::set<std::pair<uint64_t, uint32_t>> all;
  for (const auto& of_thread : taken) all.insert(of_thread.begin(), of_thread.end());
  uint64_t next = 0;
  for (const auto& [first, count] : all) {
    ASSERT_EQ(first, next);
    next += count;
  }
  EXPECT_EQ(next, keypair->sent());
}

TEST(Keypair, RacingThreadsAdmitEachCounterOnce) {
  const auto keypair = make_keypair(true);
  constexpr uint64_t kCounters = 4096;
  std::atomic<uint64_t> admitted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint64_t batch = 0; batch < kCounters; batch += 64) {
        Keypair::Admission admission = keypair->lock_replay_window();
        for (uint64_t i = 0; i < 64; ++i) admitted += admission.admit(batch + i) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admitted.load(), kCounters);
}

struct AgeCase {
  std::string name;
  bool initiator;
  seconds age;
  bool sending, receiving, rekey_after_send, rekey_on_receive;
};

TEST(Keypair, Ages) {
  const std::vector<AgeCase> cases = {
      {"a new initiator's keypair is good for everything", true, seconds(0), true, true, false, false},
      {"it is not replaced early", true, seconds(119), true, true, false, false},
      {"it is replaced after 120 s of sending", true, seconds(120), true, true, true, false},
      {"receiving does not replace it early", true, seconds(164), true, true, true, false},
      {"receiving replaces it at 165 s", true, seconds(165), true, true, true, true},
      {"it is good until 180 s", true, seconds(179), true, true, true, true},
      {"it is rejected at 180 s", true, seconds(180), false, false, true, true},
      {"a responder leaves rekeying to the initiator", false, seconds(179), true, true, false, false},
      {"a responder's is rejected at 180 s as well", false, seconds(180), false, false, false, false},
  };
  for (const AgeCase& c : cases) {
    SCOPED_TRACE(c.name);
    const auto keypair = make_keypair(c.initiator);
    EXPECT_EQ(keypair->confirm(), !c.initiator);
    const Instant now = kBirth + c.age;
    EXPECT_EQ(keypair->usable_for_sending(now), c.sending);
    EXPECT_EQ(keypair->usable_for_receiving(now), c.receiving);
    EXPECT_EQ(keypair->wants_rekey_after_send(now), c.rekey_after_send);
    EXPECT_EQ(keypair->wants_rekey_on_receive(now), c.rekey_on_receive);
  }
}

TEST(Keypair, ResponderSendsNothingBeforeItIsConfirmed) {
  const auto keypair = make_keypair(false);
  EXPECT_FALSE(keypair->usable_for_sending(kBirth));
  EXPECT_TRUE(keypair->usable_for_receiving(kBirth));
  EXPECT_TRUE(keypair->confirm());
  EXPECT_FALSE(keypair->confirm()) << "only one call confirms it";
  EXPECT_TRUE(keypair->usable_for_sending(kBirth));
}

TEST(Keypair, InitiatorIsBornConfirmed) {
  const auto keypair = make_keypair(true);
  EXPECT_TRUE(keypair->confirmed());
  EXPECT_FALSE(keypair->confirm());
}

TEST(Keypair, ExpiredForSendingStillReceives) {
  const auto keypair = make_keypair(true);
  keypair->expire_sending();
  EXPECT_FALSE(keypair->usable_for_sending(kBirth));
  EXPECT_TRUE(keypair->usable_for_receiving(kBirth));
  EXPECT_FALSE(keypair->wants_rekey_after_send(kBirth + seconds(170)));
  EXPECT_FALSE(keypair->wants_rekey_on_receive(kBirth + seconds(170)));
}

// --- the three places ---

std::set<uint32_t> indices(RetiredKeypairs retired) {
  std::set<uint32_t> result;
  for (const auto& keypair : retired) result.insert(keypair->local_index());
  return result;
}

uint32_t index_of(const Keypair* keypair) {
  return keypair == nullptr ? 0 : keypair->local_index();
}

struct Places {
  uint32_t previous, current, next;  // 0: none
  bool operator==(const Places&) const = default;
};

Places places(const Keypairs& keypairs) {
  return {index_of(keypairs.previous()), index_of(keypairs.current()), index_of(keypairs.next())};
}

std::ostream& operator<<(std::ostream& out, const Places& p) {
  return out << "{previous " << p.previous << ", current " << p.current << ", next " << p.next << "}";
}

// One step: a positive number is the initiator's keypair of this index, a negative one the responder's; zero
// confirms next.
struct TransitionCase {
  std::string name;
  std::vector<int> before;
  int step;
  Places after;
  std::set<uint32_t> retired;
};

std::set<uint32_t> apply(Keypairs& keypairs, int step) {
  if (step == 0) {
    bool became_current = false;
    return indices(keypairs.received_with(keypairs.next(), became_current));
  }
  return indices(keypairs.add(make_keypair(step > 0, static_cast<uint32_t>(std::abs(step)))));
}

TEST(Keypairs, Transitions) {
  const std::vector<TransitionCase> cases = {
      {"the initiator's first keypair is current", {}, 1, {0, 1, 0}, {}},
      {"the responder's first keypair waits as next", {}, -1, {0, 0, 1}, {}},
      {"a confirmed keypair becomes current", {-1}, 0, {0, 1, 0}, {}},
      {"the initiator's second pushes current to previous", {1}, 2, {1, 2, 0}, {}},
      {"the initiator's third retires previous", {1, 2}, 3, {2, 3, 0}, {1}},
      {"the initiator's takes the waiting next as previous and retires current", {1, -2}, 3, {2, 3, 0}, {1}},
      {"without a current one, the waiting next becomes previous", {-1}, 2, {1, 2, 0}, {}},
      {"the responder's retires previous at once", {1, 2}, -3, {0, 2, 3}, {1}},
      {"the responder's retires a next that was never confirmed", {1, -2}, -3, {0, 1, 3}, {2}},
      {"confirmation moves next to current and current to previous", {1, -2}, 0, {1, 2, 0}, {}},
      {"confirmation without a next changes nothing", {1, 2}, 0, {1, 2, 0}, {}},
  };
  for (const TransitionCase& c : cases) {
    SCOPED_TRACE(c.name);
    Keypairs keypairs;
    for (int step : c.before) apply(keypairs, step);
    EXPECT_EQ(apply(keypairs, c.step), c.retired);
    EXPECT_EQ(places(keypairs), c.after);
  }
}

TEST(Keypairs, ReceivingOnAnyOtherKeypairCompletesNothing) {
  Keypairs keypairs;
  apply(keypairs, 1);
  apply(keypairs, -2);
  bool became_current = true;
  EXPECT_TRUE(keypairs.received_with(keypairs.current(), became_current).empty());
  EXPECT_FALSE(became_current);
  EXPECT_TRUE(keypairs.received_with(nullptr, became_current).empty());
  EXPECT_FALSE(became_current);
  EXPECT_EQ(places(keypairs), (Places{0, 1, 2}));
}

TEST(Keypairs, ClearingHandsBackAllOfThem) {
  Keypairs keypairs;
  apply(keypairs, 1);
  apply(keypairs, -2);
  apply(keypairs, 0);
  EXPECT_EQ(places(keypairs), (Places{1, 2, 0}));
  EXPECT_EQ(indices(keypairs.clear()), (std::set<uint32_t>{1, 2}));
  EXPECT_EQ(places(keypairs), (Places{0, 0, 0}));
  EXPECT_EQ(indices(keypairs.clear()), std::set<uint32_t>{});
}

TEST(Keypairs, ExpiringSparesPrevious) {
  Keypairs keypairs;
  apply(keypairs, 1);
  apply(keypairs, -2);
  apply(keypairs, 0);
  Keypair* current = keypairs.current();
  keypairs.expire_sending();
  EXPECT_FALSE(current->usable_for_sending(kBirth));
  EXPECT_TRUE(current->usable_for_receiving(kBirth));
  EXPECT_TRUE(keypairs.previous()->usable_for_sending(kBirth));
}

TEST(Keypairs, AConfirmedNextIsSentWithBeforeItIsMadeCurrent) {
  Keypairs keypairs;
  EXPECT_EQ(keypairs.to_send_with(), nullptr);
  ASSERT_TRUE(keypairs.add(make_keypair(true, 1)).empty());
  ASSERT_TRUE(keypairs.add(make_keypair(false, 2)).empty());
  EXPECT_EQ(keypairs.to_send_with()->local_index(), 1u);
  auto* const next = const_cast<Keypair*>(keypairs.next());
  ASSERT_TRUE(next->confirm());
  EXPECT_EQ(keypairs.to_send_with(), next);
  bool became_current = false;
  ASSERT_TRUE(keypairs.received_with(next, became_current).empty());
  EXPECT_TRUE(became_current);
  EXPECT_EQ(keypairs.to_send_with(), next);
  EXPECT_EQ(keypairs.clear().size(), 2u);
  EXPECT_EQ(keypairs.to_send_with(), nullptr);
}

TEST(Keypairs, EveryKeypairIsInOnePlaceOrWasHandedBackOnce) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    uint32_t state = seed * 2654435761u + 1;
    Keypairs keypairs;
    std::set<uint32_t> alive;
    int next_index = 1;
    for (int i = 0; i < 200; ++i) {
      state = state * 1664525 + 1013904223;
      const uint32_t choice = state >> 24;
      std::set<uint32_t> retired;
      if (choice < 4) {
        retired = indices(keypairs.clear());
      } else if (choice < 90) {
        retired = apply(keypairs, 0);
      } else {
        alive.insert(static_cast<uint32_t>(next_index));
        retired = apply(keypairs, choice % 2 == 0 ? next_index : -next_index);
        ++next_index;
      }
      for (uint32_t index : retired) ASSERT_EQ(alive.erase(index), 1u);
      std::set<uint32_t> held;
      const Places p = places(keypairs);
      for (uint32_t index : {p.previous, p.current, p.next}) ASSERT_TRUE(index == 0 || held.insert(index).second);
      ASSERT_EQ(held, alive);
    }
  }
}

}  // namespace
}  // namespace culvert::protocol
