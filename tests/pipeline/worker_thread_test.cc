#include "src/pipeline/worker_thread.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/pipeline/threaded_queues.h"

namespace culvert::pipeline {
namespace {

using test::eventually;

size_t threads_of_process() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& task : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

// Counts its turns, and whether it may sleep in them; it is called by poke().
class Counter final : public Turned {
 public:
  Counter() { EXPECT_TRUE(poller_->add(called_->fd(), 1)); }

  void turn(WorkerPresence& presence, bool may_sleep) override {
    std::array<io::PollEvent, 4> events;
    presence.offline();
    const auto ready =
        may_sleep && !polls_ ? poller_->wait(events) : poller_->wait(events, std::chrono::nanoseconds(0));
    presence.online();
    if (!ready.empty()) called_->drain();
    if (!ready.empty() || polls_) turns.fetch_add(1);
    (may_sleep ? alone : with_others).fetch_add(1);
  }
  int fd() const override { return poller_->fd(); }
  bool polls() const override { return polls_; }
  void wake() const override { called_->notify(); }
  void poke() const { called_->notify(); }
  void poll_from_now_on() { polls_ = true; }

  std::atomic<int> turns{0}, alone{0}, with_others{0};

 private:
  io::Result<io::Poller> poller_ = io::Poller::open();
  io::Result<io::Wakeup> called_ = io::Wakeup::open();
  std::atomic<bool> polls_{false};
};

// Whether a call is followed by a turn.
bool answers(Counter& counter) {
  const int before = counter.turns;
  counter.poke();
  return eventually([&] { return counter.turns > before; });
}

TEST(WorkerThread, TurnsWhoeverIsCalledWhileOthersComeAndGo) {
  WorkerThreads threads;
  const auto thread = threads.get(0, {});
  ASSERT_TRUE(thread);
  Counter first, second, third;
  const auto add = [&](Counter& counter) { return static_cast<bool>((*thread)->add(counter, [] {})); };
  ASSERT_TRUE(add(first));
  EXPECT_TRUE(answers(first));
  EXPECT_EQ(first.with_others, 0) << "alone it sleeps in its own turn";
  ASSERT_TRUE(add(second) && add(third));
  for (Counter* const each : {&first, &second, &third}) EXPECT_TRUE(answers(*each));
  EXPECT_GT(first.with_others, 0);
  EXPECT_EQ(second.alone, 0);
  (*thread)->remove(first);
  const int turns = first.turns;
  first.poke();
  EXPECT_TRUE(answers(second) && answers(third));
  (*thread)->remove(third);
  EXPECT_TRUE(answers(second));
  EXPECT_TRUE(eventually([&] {
    second.poke();
    return second.alone > 0;
  })) << "it is alone again";
  EXPECT_EQ(first.turns, turns);
  (*thread)->remove(second);
}

TEST(WorkerThread, TurnsAllWhileOneHasToBePolled) {
  auto thread = WorkerThread::start({});
  ASSERT_TRUE(thread);
  Counter polled, called;
  polled.poll_from_now_on();
  ASSERT_TRUE((*thread)->add(called, [] {}));
  ASSERT_TRUE((*thread)->add(polled, [] {}));
  const int before = polled.turns;
  EXPECT_TRUE(eventually([&] { return polled.turns > before + 10; }));
  EXPECT_TRUE(answers(called));
  (*thread)->remove(polled);
  (*thread)->remove(called);
}

TEST(WorkerThread, PreparesOnItsOwnThread) {
  auto thread = WorkerThread::start({});
  ASSERT_TRUE(thread);
  Counter counter;
  std::thread::id where;
  ASSERT_TRUE((*thread)->add(counter, [&] { where = std::this_thread::get_id(); }));
  EXPECT_NE(where, std::this_thread::get_id());
  EXPECT_NE(where, std::thread::id());
  (*thread)->remove(counter);
}

TEST(WorkerThread, TellsHowLongItRan) {
  auto thread = WorkerThread::start({});
  ASSERT_TRUE(thread);
  const auto before = (*thread)->cpu_times();
  ASSERT_TRUE(before) << "CONFIG_SCHED_INFO, and /proc";
  Counter busy;
  busy.poll_from_now_on();
  ASSERT_TRUE((*thread)->add(
      busy, [] {}));
  EXPECT_TRUE(eventually([&] { return (*thread)->cpu_times()->ran > before->ran; }));
  EXPECT_GE((*thread)->cpu_times()->waited, before->waited);
  (*thread)->remove(busy);
}

TEST(WorkerThreads, AreOneForANumberOnTheSameCpusAsLongAsSomebodyHasIt) {
  const size_t before = threads_of_process();
  const int cpu = ::sched_getcpu();
  {
    WorkerThreads threads;
    auto one = threads.get(0, {}), same = threads.get(0, {}), other = threads.get(1, {}), kept = threads.get(0, {cpu});
    ASSERT_TRUE(one && same && other && kept);
    EXPECT_EQ(*one, *same);
    EXPECT_NE(*one, *other);
    EXPECT_NE(*one, *kept);
    EXPECT_EQ(threads_of_process(), before + 3);
    one->reset();
    same->reset();
    EXPECT_TRUE(eventually([&] { return threads_of_process() == before + 2; }));
    EXPECT_TRUE(threads.get(0, {}));
  }
  EXPECT_TRUE(eventually([&] { return threads_of_process() == before; }));
}

TEST(WorkerThreads, SayThatACpuMayNotBeUsed) {
  WorkerThreads threads;
  const auto refused = threads.get(0, {1000000});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().number, EINVAL);
}

}  // namespace
}  // namespace culvert::pipeline
