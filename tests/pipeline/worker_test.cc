#include "src/pipeline/worker.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/pipeline/threaded_queues.h"

namespace culvert::pipeline {
namespace {

using test::Bytes;
using test::Cable;
using test::CableOuter;
using test::End;
using test::eventually;
using test::InnerPacket;
using test::PacketSpec;
using test::superpacket;
using test::TestPeer;
using test::ThreadedInner;

// The nice values of this program's threads.
std::vector<int> nice_values() {
  std::vector<int> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const auto id = static_cast<id_t>(std::stoul(task.path().filename().string()));
    found.push_back(getpriority(PRIO_PROCESS, id));
  }
  return found;
}

// Whether a thread of ours may lower its nice value.
bool may_lower_nice() {
  bool may = false;
  std::thread([&] { may = setpriority(PRIO_PROCESS, 0, -1) == 0; }).join();
  return may;
}

protocol::Instant frozen_clock() {
  return test::kStart;
}

InnerPacket packet_to(uint8_t host) {
  PacketSpec spec;
  spec.host = host;
  return superpacket(spec);
}

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() {
    here_.allow(to_there_, 1);
    there_.allow(to_here_, 1);
    auto worker = Worker::start(here_.published, *control_, inner_, {.clock = frozen_clock});
    EXPECT_TRUE(worker);
    worker_ = std::move(*worker);
  }

  void begin_session() { test::begin_session(here_, to_there_, there_, to_here_); }
  void plug_in(bool* destroyed = nullptr) {
    worker_->adopt_outer(std::make_unique<CableOuter>(cable_, 0, here_.at, destroyed));
  }
  // What arrives there until now.
  std::vector<Bytes> arrived() {
    cable_.pull(1, there_.outer.to_receive);
    there_.receive();
    return there_.inner.take_packets();
  }
  // As the outer side counts them.
  uint64_t trains_sent() const {
    io::CounterValues<io::kOuterCounters.size()> values{};
    worker_->add_outer_counters(values);
    for (size_t i = 0; i < values.size(); ++i)
      if (io::kOuterCounters[i].counter == &io::OuterCounters::trains_sent) return values[i];
    return 0;
  }
  uint64_t sent_bytes() const { return worker_->mailbox().traffic.of(to_there_.path.number).sent_bytes.get(); }
  uint64_t drops(DropReason reason) const { return worker_->stats().drops[static_cast<size_t>(reason)].get(); }

  // `here_` lends its tables to the worker; its own pipelines stay idle.
  End here_{"192.0.2.1:1001"}, there_{"192.0.2.2:1002"};
  TestPeer& to_there_ = here_.add_peer(there_.at);
  TestPeer& to_here_ = there_.add_peer(here_.at);
  io::Result<io::Wakeup> control_ = io::Wakeup::open();
  Cable cable_;
  ThreadedInner inner_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(WorkerTest, SendsWhatItReads) {
  begin_session();
  plug_in();
  const InnerPacket packet = packet_to(1);
  inner_.push(packet);
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) == 1; }));
  EXPECT_EQ(arrived(), std::vector<Bytes>{packet.bytes});
}

TEST_F(WorkerTest, CallsTheControlThreadOnceAPeriodWhileThereIsTraffic) {
  static std::atomic<int64_t> clock_ns;
  clock_ns = test::kStart.time_since_epoch().count();
  WorkerOptions options;
  options.clock = [] { return protocol::Instant(protocol::Duration(clock_ns.load())); };
  options.beat = std::chrono::milliseconds(250);
  ThreadedInner inner;
  auto worker = Worker::start(here_.published, *control_, inner, options);
  ASSERT_TRUE(worker);
  const auto read = [&](uint64_t packets) {
    inner.push(packet_to(9));
    return eventually([&] { return (*worker)->stats().inner_packets_read.get() == packets; });
  };
  ASSERT_TRUE(read(1));
  EXPECT_TRUE(eventually([&] { return control_->drain(); }));
  ASSERT_TRUE(read(2) && read(3));
  // The call would have come before the next packet was read.
  EXPECT_FALSE(control_->drain());
  clock_ns += std::chrono::nanoseconds(options.beat).count();
  ASSERT_TRUE(read(4));
  EXPECT_TRUE(eventually([&] { return control_->drain(); }));
}

TEST_F(WorkerTest, WritesWhatItReceives) {
  begin_session();
  plug_in();
  const InnerPacket packet = packet_to(1);
  there_.send(packet);
  test::Train train = there_.outer.sent.at(0);
  train.peer = there_.at;
  cable_.push(0, train);
  ASSERT_TRUE(eventually([&] { return inner_.written() == 1; }));
  EXPECT_EQ(inner_.take_packets(), std::vector<Bytes>{packet.bytes});
}

TEST_F(WorkerTest, DropsWhatItReadsWithoutAnOuterSide) {
  begin_session();
  inner_.push(packet_to(1));
  ASSERT_TRUE(eventually([&] { return worker_->stats().inner_packets_read.get() == 1; }));
  worker_->drop_staged({}, DropReason::no_peer).wait();  // its turn is over after this
  EXPECT_EQ(to_there_.path.staged, 0u);
  EXPECT_EQ(cable_.pushed(1), 0u);
  EXPECT_EQ(trains_sent(), 0u);
  EXPECT_EQ(drops(DropReason::link_down), 1u);
}

TEST_F(WorkerTest, SendsStagedPacketsWhenToldTo) {
  plug_in();
  const InnerPacket packet = packet_to(1);
  inner_.push(packet);
  ASSERT_TRUE(eventually([&] { return to_there_.path.staged == 1; }));
  EXPECT_TRUE(eventually([&] { return control_->drain(); })) << "asks for a handshake";
  begin_session();
  worker_->flush_staged(to_there_.path);
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) == 1; }));
  EXPECT_EQ(arrived(), std::vector<Bytes>{packet.bytes});
  EXPECT_EQ(to_there_.path.staged, 0u);
}

TEST_F(WorkerTest, HasDroppedStagedPacketsWhenTheCallReturns) {
  TestPeer& other = here_.add_peer(test::endpoint("192.0.2.3:3"));
  // No one reads the tables yet.
  here_.allow(other, 20);
  plug_in();
  for (const uint8_t host : {uint8_t{1}, uint8_t{20}, uint8_t{20}}) inner_.push(packet_to(host));
  ASSERT_TRUE(eventually([&] { return to_there_.path.staged + other.path.staged == 3; }));
  PeerPath* const paths[] = {&to_there_.path, &other.path};
  worker_->drop_staged(paths, DropReason::handshake_failed).wait();
  EXPECT_EQ(to_there_.path.staged, 0u);
  EXPECT_EQ(other.path.staged, 0u);
  EXPECT_EQ(drops(DropReason::handshake_failed), 3u);
}

TEST_F(WorkerTest, HasLetGoOfTheOldOuterSideWhenTheCallReturns) {
  bool first = false, second = false;
  plug_in(&first);
  EXPECT_EQ(trains_sent(), 7u);
  plug_in(&second);
  EXPECT_TRUE(first);
  EXPECT_FALSE(second);
  worker_->adopt_outer(nullptr);
  EXPECT_TRUE(second);
  worker_.reset();
}

TEST_F(WorkerTest, CountsOnWhenTheOuterSideIsReplaced) {
  plug_in();
  EXPECT_EQ(trains_sent(), 7u);
  worker_->adopt_outer(nullptr);
  EXPECT_EQ(trains_sent(), 7u) << "the link is down, and nothing is forgotten";
  plug_in();
  EXPECT_EQ(trains_sent(), 14u);
  plug_in();
  EXPECT_EQ(trains_sent(), 21u);
}

TEST_F(WorkerTest, SaysThatTheInnerSideIsGoneAndGoesOn) {
  begin_session();
  plug_in();
  EXPECT_FALSE(worker_->inner_gone());
  inner_.remove_device();
  ASSERT_TRUE(eventually([&] { return worker_->inner_gone(); }));
  EXPECT_TRUE(eventually([&] { return control_->drain(); }));
  there_.send(packet_to(1));
  cable_.push(0, there_.outer.sent.at(0));
  EXPECT_TRUE(eventually([&] { return worker_->stats().messages_opened.get() == 1; }));
}

TEST_F(WorkerTest, SendsWhatTheControlThreadHandsOver) {
  plug_in();
  ControlDatagram datagram;
  datagram.path = &to_there_.path;
  datagram.length = 148;
  datagram.bytes.fill(7);
  EXPECT_EQ(worker_->control_room(), ControlOutbox::kMaxDatagrams);
  EXPECT_TRUE(worker_->send_control(datagram));
  worker_->announce_control();
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) == 1; }));
  EXPECT_TRUE(eventually([&] { return worker_->control_room() == ControlOutbox::kMaxDatagrams; }));
  std::deque<test::Train> trains;
  cable_.pull(1, trains);
  EXPECT_EQ(trains.at(0).bytes, Bytes(148, 7));
  EXPECT_TRUE(eventually([&] { return sent_bytes() == 148; }));
}

// Whoever frees a peer calls this first.
TEST_F(WorkerTest, HasSentWhatItWasHandedBeforeAPeerIsDropped) {
  plug_in();
  ControlDatagram datagram;
  datagram.path = &to_there_.path;
  datagram.length = 32;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(worker_->send_control(datagram));
  worker_->drop_staged({}, DropReason::no_peer).wait();
  EXPECT_EQ(cable_.pushed(1), 100u);
  EXPECT_EQ(sent_bytes(), 100u * 32);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(worker_->send_control(datagram));
  worker_->adopt_outer(nullptr);
  EXPECT_EQ(cable_.pushed(1), 200u) << "by the old outer side";
}

TEST_F(WorkerTest, PollsAnOuterSideWithoutDescriptors) {
  begin_session();
  worker_->adopt_outer(std::make_unique<CableOuter>(cable_, 0, here_.at, nullptr, false));
  const InnerPacket packet = packet_to(1);
  there_.send(packet);
  test::Train train = there_.outer.sent.at(0);
  train.peer = there_.at;
  cable_.push(0, train);
  ASSERT_TRUE(eventually([&] { return inner_.written() == 1; }));
  inner_.push(packet);
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) == 1; })) << "the other side has one, and is heard";
  worker_->adopt_outer(nullptr);
}

TEST_F(WorkerTest, PollsAnInnerSideWithoutDescriptors) {
  worker_.reset();
  ThreadedInner polled(false);
  auto worker = Worker::start(here_.published, *control_, polled, {.clock = frozen_clock});
  ASSERT_TRUE(worker);
  worker_ = std::move(*worker);
  begin_session();
  plug_in();
  const InnerPacket packet = packet_to(1);
  polled.push(packet);
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) == 1; }));
  EXPECT_EQ(arrived(), std::vector<Bytes>{packet.bytes});
  there_.send(packet);
  cable_.push(0, there_.outer.sent.at(0));
  ASSERT_TRUE(eventually([&] { return polled.written() == 1; })) << "the other side has one, and is heard";
  polled.remove_device();
  ASSERT_TRUE(eventually([&] { return worker_->inner_gone(); }));
  worker_.reset();
}

TEST_F(WorkerTest, RestsWhileAPolledSideHasNothingButForABusyOne) {
  ThreadedInner polled(false);
  for (const bool busy : {false, true}) {
    auto worker = Worker::start(here_.published, *control_, polled, {.clock = frozen_clock, .busy_poll = busy});
    ASSERT_TRUE(worker);
    const auto turns_in_a_while = [&] {
      const uint64_t before = (*worker)->stats().wakeups.get();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the span that is measured, not a wait
      return (*worker)->stats().wakeups.get() - before;
    };
    // A rest is 400 microseconds at last.
    EXPECT_TRUE(eventually([&] { return busy ? turns_in_a_while() > 100 : turns_in_a_while() <= 50; }));
  }
}

TEST_F(WorkerTest, SharesItsThreadWithWorkersOfOtherInterfaces) {
  worker_.reset();
  const auto threads_of_process = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
  };
  const auto before = threads_of_process();
  WorkerThreads threads;
  const WorkerOptions options{.clock = frozen_clock, .threads = &threads};
  ThreadedInner other_inner;
  auto other = Worker::start(there_.published, *control_, other_inner, options);
  auto worker = Worker::start(here_.published, *control_, inner_, options);
  ASSERT_TRUE(worker && other);
  worker_ = std::move(*worker);
  EXPECT_EQ(threads_of_process(), before + 1);
  begin_session();
  plug_in();
  (*other)->adopt_outer(std::make_unique<CableOuter>(cable_, 1, there_.at, nullptr));
  const InnerPacket packet = packet_to(1);
  inner_.push(packet);
  ASSERT_TRUE(eventually([&] { return other_inner.written() == 1; })) << "from one to the other";
  EXPECT_EQ(other_inner.take_packets(), std::vector<Bytes>{packet.bytes});
  other->reset();
  begin_session();
  inner_.push(packet);
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) == 2; })) << "the one that stays";
}

TEST_F(WorkerTest, TakesATurnForEachCallAndNoMore) {
  for (int i = 0; i < 100; ++i) worker_->drop_staged({}, DropReason::no_peer).wait();
  EXPECT_LE(worker_->stats().wakeups.get(), 100u);
}

TEST_F(WorkerTest, RunsBeforeOrdinaryProgramsWhereItMay) {
  if (getpriority(PRIO_PROCESS, 0) != 0) GTEST_SKIP() << "started with a nice value: run the test without nice(1)";
  const long expected = may_lower_nice() ? 1 : 0;
  EXPECT_TRUE(eventually([&] { return std::ranges::count(nice_values(), -5) == expected; }));
}

TEST_F(WorkerTest, EndsWithPacketsStaged) {
  plug_in();
  inner_.push(packet_to(1));
  ASSERT_TRUE(eventually([&] { return to_there_.path.staged == 1; }));
  worker_.reset();
}

TEST_F(WorkerTest, EndsUnderTraffic) {
  begin_session();
  plug_in();
  const InnerPacket packet = packet_to(1);
  inner_.read_endlessly(packet);
  ASSERT_TRUE(eventually([&] { return cable_.pushed(1) > 100; }));
  worker_.reset();
}

}  // namespace
}  // namespace culvert::pipeline
