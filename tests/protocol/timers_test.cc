#include "src/protocol/timers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace culvert::protocol {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kJitter = milliseconds(100);
// Time does not begin at zero, as it never does.
constexpr Instant kBegin{seconds(5000)};

enum class Event {
  up,
  down,
  want_handshake,
  want_lastminute_handshake,
  response_received,    // of our initiation: the handshake is complete
  initiation_received,  // and answered
  confirmed,            // the handshake that we answered is complete
  data_sent,
  data_received,
  keepalive_sent,
  keepalive_received,
  persistent_on,  // 25 s
  persistent_off,
  network_fails,  // nothing that the timers ask for is sent from now on
  reset_throttle,
};

std::string describe(const TimerActions& actions) {
  std::string text;
  const auto add = [&text](bool set, const char* word) {
    if (!set) return;
    if (!text.empty()) text += ' ';
    text += word;
  };
  add(actions.wipe_keys, "wipe");
  add(actions.give_up, "give_up");
  add(actions.clear_source, "clear_source");
  add(actions.send_initiation, "initiation");
  add(actions.send_keepalive, "keepalive");
  add(actions.send_persistent_keepalive, "persistent");
  return text;
}

// The control thread and the workers of one peer, in one thread and with a clock that jumps from deadline to
// deadline. What the timers ask for is sent at once.
class Simulation {
 public:
  struct Entry {
    Instant at;
    std::string actions;
    bool operator==(const Entry&) const = default;
  };

  explicit Simulation(Duration persistent = seconds(25)) : persistent_(persistent) {}

  void run_until(Instant end) {
    for (auto deadline = timers_.next_deadline(); deadline && *deadline <= end; deadline = timers_.next_deadline()) {
      // A deadline that has passed already is one that advance() did not clear.
      ASSERT_LE(++looks_, 1'000'000u);
      now_ = std::max(now_, *deadline);
      advance();
    }
    now_ = end;
  }

  void happen(Event event) {
    switch (event) {
      case Event::up:
        if (timers_.start()) send_keepalive();
        break;
      case Event::down:
        timers_.stop();
        break;
      case Event::want_handshake:
        wake(timers_.marks().want_handshake(now_));
        break;
      case Event::want_lastminute_handshake:
        wake(timers_.marks().want_lastminute_handshake(now_));
        break;
      case Event::response_received:
        timers_.handshake_received(now_);
        timers_.session_derived(now_);
        timers_.handshake_complete();
        break;
      case Event::initiation_received:
        timers_.handshake_received(now_);
        timers_.session_derived(now_);
        timers_.handshake_responded(now_, kJitter);
        break;
      case Event::confirmed:
        timers_.handshake_complete();
        break;
      case Event::data_sent:
        send_keepalive();
        wake(timers_.marks().data_sent(now_));
        break;
      case Event::data_received:
        timers_.marks().any_authenticated_packet_received();
        wake(timers_.marks().any_authenticated_packet_traversal(now_));
        wake(timers_.marks().data_received(now_));
        break;
      case Event::keepalive_sent:
        send_keepalive();
        break;
      case Event::keepalive_received:
        timers_.marks().any_authenticated_packet_received();
        wake(timers_.marks().any_authenticated_packet_traversal(now_));
        break;
      case Event::persistent_on:
        if (timers_.set_persistent_keepalive(persistent_)) send_keepalive();
        break;
      case Event::persistent_off:
        (void)timers_.set_persistent_keepalive(Duration(0));
        break;
      case Event::network_fails:
        network_fails_ = true;
        break;
      case Event::reset_throttle:
        timers_.lift_throttle();
        break;
    }
  }

  Timers& timers() { return timers_; }
  Instant now() const { return now_; }
  const std::vector<Entry>& log() const { return log_; }
  unsigned looks() const { return looks_; }
  unsigned wakes() const { return wakes_; }

 private:
  void wake(bool asked) {
    if (!asked) return;
    ++wakes_;
    advance();
  }

  void advance() {
    const TimerActions actions = timers_.advance(now_, kJitter);
    if (actions.any()) log_.push_back({now_, describe(actions)});
    if (actions.send_initiation) timers_.handshake_initiated(now_, kJitter);
    if (actions.send_keepalive || actions.send_persistent_keepalive) send_keepalive();
  }

  void send_keepalive() {
    if (network_fails_) return;
    wake(timers_.marks().any_authenticated_packet_traversal(now_));
    timers_.marks().any_authenticated_packet_sent();
  }

  const Duration persistent_;
  Timers timers_;
  Instant now_ = kBegin;
  bool network_fails_ = false;
  std::vector<Entry> log_;
  unsigned looks_ = 0;
  unsigned wakes_ = 0;
};

struct Step {
  double at;  // seconds from the start
  Event event;
};

struct Action {
  double at;
  std::string actions;
};

struct Case {
  std::string name;
  std::vector<Step> steps;  // after `up` at 0
  double end;
  std::vector<Action> expected;
};

Instant at(double seconds_from_start) {
  return kBegin + duration_cast<Duration>(milliseconds(static_cast<int64_t>(seconds_from_start * 1000 + 0.5)));
}

void check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Simulation simulation;
    simulation.happen(Event::up);
    for (const Step& step : c.steps) {
      simulation.run_until(at(step.at));
      simulation.happen(step.event);
    }
    simulation.run_until(at(c.end));
    std::vector<std::string> expected, seen;
    const auto line = [](Instant when, const std::string& actions) {
      return std::to_string(duration_cast<milliseconds>(when - kBegin).count()) + " ms: " + actions;
    };
    for (const Action& action : c.expected) expected.push_back(line(at(action.at), action.actions));
    for (const Simulation::Entry& entry : simulation.log()) seen.push_back(line(entry.at, entry.actions));
    EXPECT_EQ(seen, expected);
  }
}

TEST(Timers, RetransmitHandshake) {
  check({
      {"nothing happens by itself", {}, 1000, {}},
      {"a wanted handshake starts at once and is retried after 5 s and jitter",
       {{1, Event::want_handshake}},
       12,
       {{1, "initiation"}, {6.1, "clear_source initiation"}, {11.2, "clear_source initiation"}}},
      {"a response stops the retries",
       {{1, Event::want_handshake}, {1.1, Event::response_received}},
       100,
       {{1, "initiation"}}},
      {"confirmation of the peer's own handshake stops the retries",
       {{1, Event::want_handshake}, {2, Event::initiation_received}, {2.1, Event::confirmed}},
       100,
       {{1, "initiation"}}},
      {"wanting it again and again starts one",
       {{1, Event::want_handshake},
        {1.1, Event::want_handshake},
        {2, Event::want_handshake},
        {2.5, Event::response_received}},
       100,
       {{1, "initiation"}}},
      {"an initiation waits 5 s and jitter after the last one",
       {{1, Event::want_handshake},
        {1.1, Event::response_received},
        {6, Event::want_handshake},
        {6.1, Event::want_handshake},
        {6.2, Event::response_received}},
       100,
       {{1, "initiation"}, {6.1, "initiation"}}},
      {"an initiation waits 5 s and jitter after a response of ours",
       {{1, Event::initiation_received},
        {6, Event::want_handshake},
        {6.1, Event::want_handshake},
        {6.2, Event::response_received}},
       100,
       {{6.1, "initiation"}}},
      {"one that crossed another is tried again after the answer to that, without any new packet",
       {{1, Event::want_handshake}, {1.3, Event::initiation_received}, {6.5, Event::response_received}},
       100,
       {{1, "initiation"}, {6.4, "clear_source initiation"}}},
      {"one that crossed another waits for its jitter, however much there is to send",
       {{1, Event::want_handshake},
        {1.3, Event::initiation_received},
        {6.35, Event::want_handshake},
        {6.4, Event::want_handshake},
        {6.5, Event::response_received}},
       100,
       {{1, "initiation"}, {6.4, "clear_source initiation"}}},
      {"a new key of ours lifts the throttle",
       {{1, Event::want_handshake},
        {1.1, Event::response_received},
        {2, Event::reset_throttle},
        {2, Event::want_handshake},
        {2.1, Event::response_received}},
       100,
       {{1, "initiation"}, {2, "initiation"}}},
  });
}

TEST(Timers, GivesUpAfterTwentyInitiations) {
  std::vector<Action> expected = {{0, "initiation"}};
  for (int i = 1; i < 20; ++i) expected.push_back({i * 5.1, "clear_source initiation"});
  expected.push_back({20 * 5.1, "give_up"});
  // What the attempts left behind goes as keys do.
  expected.push_back({20 * 5.1 + 540, "wipe"});
  check({{"without an answer", {{0, Event::want_handshake}}, 2000, expected}});

  Simulation simulation;
  simulation.happen(Event::up);
  simulation.happen(Event::want_handshake);
  simulation.run_until(at(50));
  EXPECT_EQ(simulation.timers().handshake_attempts(), 9u);
  simulation.happen(Event::want_handshake);
  simulation.run_until(at(51.1));
  EXPECT_EQ(simulation.timers().handshake_attempts(), 1u) << "new work counts attempts from the start";
}

TEST(Timers, NewHandshake) {
  check({
      {"data without an answer starts a handshake after 15 s and jitter",
       {{1, Event::data_sent}, {16.2, Event::response_received}},
       100,
       {{16.1, "clear_source initiation"}}},
      {"more data does not put it off",
       {{1, Event::data_sent}, {10, Event::data_sent}, {15, Event::data_sent}, {16.2, Event::response_received}},
       100,
       {{16.1, "clear_source initiation"}}},
      {"data is an answer, and is acknowledged",
       {{1, Event::data_sent}, {16, Event::data_received}},
       100,
       {{26, "keepalive"}}},
      {"a keepalive is an answer", {{1, Event::data_sent}, {16, Event::keepalive_received}}, 100, {}},
      {"a handshake message is an answer", {{1, Event::data_sent}, {16, Event::initiation_received}}, 500, {}},
      {"a keepalive asks for no answer", {{1, Event::keepalive_sent}}, 100, {}},
      {"data after an answer waits for the next one",
       {{1, Event::data_sent}, {2, Event::keepalive_received}, {3, Event::data_sent}, {18.2, Event::response_received}},
       100,
       {{18.1, "clear_source initiation"}}},
      {"data sent while the handshake is tried waits for an answer as well",
       {{1, Event::data_sent},
        {16.2, Event::response_received},
        {17, Event::data_sent},
        {32.2, Event::response_received}},
       100,
       {{16.1, "clear_source initiation"}, {32.1, "clear_source initiation"}}},
  });
}

TEST(Timers, SendKeepalive) {
  check({
      {"data is acknowledged after 10 s", {{1, Event::data_received}}, 100, {{11, "keepalive"}}},
      {"a keepalive is not acknowledged", {{1, Event::keepalive_received}}, 100, {}},
      {"data sent in time acknowledges",
       {{1, Event::data_received}, {10.9, Event::data_sent}, {11, Event::keepalive_received}},
       100,
       {}},
      {"a keepalive sent in time acknowledges", {{1, Event::data_received}, {10.9, Event::keepalive_sent}}, 100, {}},
      {"a handshake message acknowledges", {{1, Event::data_received}, {2, Event::initiation_received}}, 500, {}},
      {"more data does not put it off",
       {{1, Event::data_received}, {5, Event::data_received}, {10, Event::data_received}},
       100,
       {{11, "keepalive"}}},
      {"data after the keepalive is acknowledged again",
       {{1, Event::data_received}, {12, Event::data_received}},
       100,
       {{11, "keepalive"}, {22, "keepalive"}}},
      {"another one follows if this one could not be sent and more data had come",
       {{1, Event::data_received}, {2, Event::data_received}, {3, Event::network_fails}},
       100,
       {{11, "keepalive"}, {21, "keepalive"}}},
      {"none follows if only one packet had come",
       {{1, Event::data_received}, {3, Event::network_fails}},
       100,
       {{11, "keepalive"}}},
  });
}

TEST(Timers, ZeroKeyMaterial) {
  check({
      {"keys are wiped 540 s after the last one was derived", {{1, Event::initiation_received}}, 2000, {{541, "wipe"}}},
      {"a new keypair puts it off",
       {{1, Event::initiation_received}, {500, Event::response_received}},
       2000,
       {{1040, "wipe"}}},
  });
}

TEST(Timers, PersistentKeepalive) {
  check({
      {"switching it on sends one at once and every 25 s from then",
       {{1, Event::persistent_on}},
       80,
       {{26, "persistent"}, {51, "persistent"}, {76, "persistent"}}},
      {"anything authenticated puts it off",
       {{1, Event::persistent_on}, {10, Event::keepalive_received}, {20, Event::keepalive_sent}},
       50,
       {{45, "persistent"}}},
      {"switching it on again sends none",
       {{1, Event::persistent_on}, {2, Event::persistent_on}},
       30,
       {{26, "persistent"}}},
      {"switching it off stops it", {{1, Event::persistent_on}, {2, Event::persistent_off}}, 100, {}},
      {"if nothing can be sent it is tried again",
       {{1, Event::persistent_on}, {2, Event::network_fails}},
       80,
       {{26, "persistent"}, {51, "persistent"}, {76, "persistent"}}},
      {"it goes on when the interface comes back",
       {{1, Event::persistent_on}, {2, Event::down}, {100, Event::up}},
       130,
       {{125, "persistent"}}},
  });
  Timers timers;
  EXPECT_FALSE(timers.set_persistent_keepalive(seconds(25))) << "the interface is down";
  EXPECT_TRUE(timers.start());
}

TEST(Timers, LastminuteHandshake) {
  check({
      {"it is sent once for each keypair",
       {{1, Event::want_lastminute_handshake},
        {1.1, Event::response_received},
        {100, Event::want_lastminute_handshake},
        {100.1, Event::response_received}},
       200,
       {{1, "initiation"}, {100, "initiation"}}},
      {"until it has completed it is not sent again",
       {{1, Event::want_lastminute_handshake},
        {1.5, Event::down},
        {1.6, Event::up},
        {7, Event::want_lastminute_handshake},
        {7.1, Event::response_received}},
       200,
       {{1, "initiation"}, {7, "initiation"}}},
  });
  Timers timers;
  (void)timers.start();
  EXPECT_TRUE(timers.marks().want_lastminute_handshake(at(10)));
  EXPECT_TRUE(timers.advance(at(10), kJitter).send_initiation);
  EXPECT_FALSE(timers.marks().want_lastminute_handshake(at(20)));
  EXPECT_FALSE(timers.advance(at(20), kJitter).send_initiation);
}

TEST(Timers, NothingIsDueWhileTheInterfaceIsDown) {
  Simulation simulation;
  for (Event event : {Event::up, Event::persistent_on, Event::want_handshake, Event::data_sent, Event::data_received,
                      Event::initiation_received, Event::down})
    simulation.happen(event);
  const size_t before = simulation.log().size();
  EXPECT_FALSE(simulation.timers().next_deadline());
  for (Event event : {Event::want_handshake, Event::data_sent, Event::data_received}) simulation.happen(event);
  simulation.timers().handshake_initiated(simulation.now(), kJitter);
  simulation.timers().session_derived(simulation.now());
  EXPECT_FALSE(simulation.timers().next_deadline());
  EXPECT_EQ(simulation.timers().advance(at(10'000), kJitter), TimerActions{});
  EXPECT_EQ(simulation.log().size(), before);
}

// --- wake-ups ---

TEST(Timers, SteadyTrafficWakesNobody) {
  Simulation simulation;
  simulation.happen(Event::up);
  constexpr int kSeconds = 100;
  for (int ms = 0; ms < kSeconds * 1000; ++ms) {
    simulation.run_until(at(ms / 1000.0));
    simulation.happen(ms % 2 == 0 ? Event::data_sent : Event::data_received);
  }
  EXPECT_LE(simulation.wakes(), 1u);
  EXPECT_LE(simulation.looks(), kSeconds / 10u);
  EXPECT_TRUE(simulation.log().empty());
}

TEST(Timers, SilenceAfterTrafficCostsFewLooksAndThenNone) {
  Simulation simulation;
  simulation.happen(Event::up);
  simulation.happen(Event::data_sent);
  simulation.happen(Event::data_received);
  simulation.happen(Event::data_sent);
  simulation.happen(Event::keepalive_received);
  simulation.run_until(at(100'000));
  EXPECT_LE(simulation.looks(), 3u);
  EXPECT_FALSE(simulation.timers().next_deadline());
  simulation.happen(Event::data_received);
  EXPECT_TRUE(simulation.timers().next_deadline()) << "the first packet after silence wakes the control thread";
}

TEST(Timers, APersistentKeepaliveAloneCostsOneLookEach) {
  Simulation simulation;
  simulation.happen(Event::up);
  simulation.happen(Event::persistent_on);
  simulation.run_until(at(25 * 100));
  EXPECT_EQ(simulation.log().size(), 100u);
  EXPECT_LE(simulation.looks(), 103u);
  EXPECT_EQ(simulation.wakes(), 1u);
}

// --- against the kernel's way to do it ---

// One timer object for each timer, armed and disarmed by each event, as in the kernel's timers.c, with the
// effect of sending applied before the timer's own re-arming is undone by it, and with jitter in the throttle.
class EagerTimers {
 public:
  explicit EagerTimers(Duration persistent) : persistent_interval_(persistent) {}

  void run_until(Instant end) {
    for (;;) {
      Timer* due = nullptr;
      for (Timer* timer : {&retransmit_, &new_handshake_, &keepalive_, &wipe_, &persistent_})
        if (*timer && **timer <= end && (due == nullptr || **timer < **due)) due = timer;
      if (due == nullptr) break;
      now_ = **due;
      due->reset();
      expire(due);
    }
    now_ = end;
  }

  void happen(Event event) {
    switch (event) {
      case Event::want_handshake:
        attempts_ = 0;
        initiate();
        break;
      case Event::want_lastminute_handshake:
        if (lastminute_) break;
        lastminute_ = true;
        attempts_ = 0;
        initiate();
        break;
      case Event::response_received:
        new_handshake_.reset();
        traverse();
        wipe_ = now_ + kKeyWipeTime;
        complete();
        break;
      case Event::initiation_received:
        new_handshake_.reset();
        wipe_ = now_ + kKeyWipeTime;
        may_initiate_from_ = now_ + kRekeyTimeout + kJitter;
        if (retransmit_) retransmit_ = may_initiate_from_;
        send();
        break;
      case Event::confirmed:
        complete();
        break;
      case Event::data_sent:
        send();
        if (!new_handshake_) new_handshake_ = now_ + kNewHandshakeTime + kJitter;
        break;
      case Event::data_received:
        new_handshake_.reset();
        traverse();
        if (keepalive_)
          need_another_ = true;
        else
          keepalive_ = now_ + kKeepaliveTimeout;
        break;
      case Event::keepalive_sent:
        send();
        break;
      case Event::keepalive_received:
        new_handshake_.reset();
        traverse();
        break;
      case Event::persistent_on:
        if (!persistent_is_on_) {
          persistent_is_on_ = true;
          send();
        }
        break;
      default:
        FAIL();
    }
  }

  const std::vector<Simulation::Entry>& log() const { return log_; }

 private:
  using Timer = std::optional<Instant>;

  void expire(const Timer* timer) {
    if (timer == &retransmit_) {
      if (attempts_ > 18) {
        log_.push_back({now_, "give_up"});
        keepalive_.reset();
        if (!wipe_) wipe_ = now_ + kKeyWipeTime;
      } else {
        ++attempts_;
        initiate("clear_source");
      }
    } else if (timer == &new_handshake_) {
      attempts_ = 0;
      initiate("clear_source");
    } else if (timer == &keepalive_) {
      need_another_ = false;
      log_.push_back({now_, "keepalive"});
      send();
    } else if (timer == &wipe_) {
      log_.push_back({now_, "wipe"});
    } else {
      log_.push_back({now_, "persistent"});
      send();
    }
  }

  void initiate(std::string actions = "") {
    if (!may_initiate_from_ || now_ >= *may_initiate_from_) {
      if (!actions.empty()) actions += ' ';
      actions += "initiation";
      may_initiate_from_ = now_ + kRekeyTimeout + kJitter;
      send();
      retransmit_ = may_initiate_from_;
    }
    if (!actions.empty()) log_.push_back({now_, actions});
  }
  void complete() {
    retransmit_.reset();
    attempts_ = 0;
    lastminute_ = false;
  }
  void traverse() {
    if (persistent_is_on_) persistent_ = now_ + persistent_interval_;
  }
  void send() {
    traverse();
    keepalive_.reset();
  }

  const Duration persistent_interval_;
  Instant now_ = kBegin;
  Timer retransmit_, new_handshake_, keepalive_, wipe_, persistent_;
  std::optional<Instant> may_initiate_from_;
  unsigned attempts_ = 0;
  bool need_another_ = false, lastminute_ = false, persistent_is_on_ = false;
  std::vector<Simulation::Entry> log_;
};

TEST(Timers, LazyTimersDoWhatEagerOnesDo) {
  constexpr Event kEvents[] = {Event::data_sent,
                               Event::data_received,
                               Event::data_sent,
                               Event::data_received,
                               Event::keepalive_sent,
                               Event::keepalive_received,
                               Event::want_handshake,
                               Event::response_received,
                               Event::confirmed,
                               Event::initiation_received,
                               Event::want_lastminute_handshake};
  for (uint32_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const Duration persistent = milliseconds(700 + random() % 30'000);
    Simulation lazy(persistent);
    EagerTimers eager(persistent);
    lazy.happen(Event::up);
    Instant now = kBegin;
    // Some runs have little but silence, others steady traffic.
    const uint64_t longest_gap_ns = uint64_t{1} << (25 + random() % 14);
    const size_t repertoire = random() % 2 == 0 ? std::size(kEvents) : 1 + random() % std::size(kEvents);
    for (int i = 0; i < 300; ++i) {
      // Random nanoseconds: never at the same time as a timer.
      now += milliseconds(10) + Duration(1 + random() % longest_gap_ns);
      lazy.run_until(now);
      eager.run_until(now);
      const Event event = i == 20 && seed % 3 == 0 ? Event::persistent_on : kEvents[random() % repertoire];
      lazy.happen(event);
      eager.happen(event);
    }
    lazy.run_until(now + seconds(1000));
    eager.run_until(now + seconds(1000));
    ASSERT_EQ(lazy.log().size(), eager.log().size());
    for (size_t i = 0; i < lazy.log().size(); ++i) {
      ASSERT_EQ(lazy.log()[i].actions, eager.log()[i].actions) << "entry " << i;
      // What came within the grain of the traversal mark may have been counted 10 ms early.
      ASSERT_LE(std::chrono::abs(lazy.log()[i].at - eager.log()[i].at), milliseconds(10))
          << "entry " << i << ": " << lazy.log()[i].actions;
    }
  }
}

// Waits until `turn` has come, busily at first: both sides shall go on within nanoseconds of each other.
void await_turn(const std::atomic<int>& now, int turn) {
  for (int spins = 0; now.load(std::memory_order_acquire) != turn; ++spins)
    if (spins > 2000) std::this_thread::yield();
}

// Passes some nanoseconds.
void dawdle(uint32_t steps) {
  for (; steps > 0; --steps) std::atomic_signal_fence(std::memory_order_seq_cst);
}

// A worker sets a mark in the very moment in which the control thread decides to sleep.
TEST(TimerMarks, NoWakeUpIsLostBetweenWorkerAndControlThread) {
  constexpr int kRounds = 50'000;
  Timers timers;
  (void)timers.start();
  Instant now = kBegin;  // changes only while the worker waits
  bool woken = false;    // read only while the worker waits
  std::atomic<int> started{0}, finished{0};
  std::thread worker([&] {
    std::mt19937 random(1);
    for (int round = 1; round <= kRounds; ++round) {
      const uint32_t steps = random() % 256;
      await_turn(started, round);
      dawdle(steps);
      woken = round % 2 == 0 ? timers.marks().data_sent(now) : timers.marks().data_received(now);
      finished.store(round, std::memory_order_release);
    }
  });
  std::mt19937 random(2);
  int lost = 0;
  for (int round = 1; round <= kRounds; ++round) {
    // There was traffic, and a look at it, and nothing since.
    timers.marks().any_authenticated_packet_sent();
    timers.marks().any_authenticated_packet_received();
    (void)timers.marks().data_sent(now);
    timers.marks().any_authenticated_packet_received();
    (void)timers.advance(now, kJitter);
    now += kKeepaliveTimeout;

    const uint32_t steps = random() % 256;
    started.store(round, std::memory_order_release);
    dawdle(steps);
    (void)timers.advance(now, kJitter);
    const std::optional<Instant> sleeps_until = timers.next_deadline();
    await_turn(finished, round);

    const std::optional<Instant> due = timers.next_deadline();
    if (!woken && !(sleeps_until && due && *sleeps_until <= *due)) ++lost;
  }
  worker.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace culvert::protocol
