#include "src/device/worker_pool.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "tests/device/device_nodes.h"

namespace culvert::device {
namespace {

using pipeline::test::eventually;
using test::Bytes;
using test::FakeInnerDevice;
using test::InnerPacket;
using test::Node;
using test::PacketSpec;
using test::public_key;

WorkerPlan planned(size_t count) {
  WorkerPlan plan;
  plan.count = count;
  plan.insisted = true;
  return plan;
}

// Two nodes with some workers each, that know each other.
class WorkerPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    test::clock_ns = std::chrono::nanoseconds(std::chrono::hours(1)).count();
    b_.add_peer(public_key(a_.key), {});
    a_.add_peer(public_key(b_.key), b_.at());
  }

  template <typename Condition>
  [[nodiscard]] bool pump(Condition&& condition) {
    return eventually([&] {
      a_.turn();
      b_.turn();
      return condition();
    });
  }

  InnerPacket next_packet() {
    PacketSpec spec;
    spec.sequence = ++sequence_;
    return pipeline::test::superpacket(spec);
  }

  // One packet from a queue of `from` arrives on some queue of `to`.
  void transfer(Node& from, size_t queue, Node& to) {
    const size_t before = to.inner_device.written();
    from.inner_device.queue(queue).push(next_packet());
    ASSERT_TRUE(pump([&] { return to.inner_device.written() > before; })) << "from queue " << queue;
  }
  void transfer_from_all_queues() {
    for (size_t i = 0; i < a_.inner_device.queue_count(); ++i) transfer(a_, i, b_);
    for (size_t i = 0; i < b_.inner_device.queue_count(); ++i) transfer(b_, i, a_);
  }
  // Answers what b_ sent last. Else both would begin a handshake at one instant after a leap of the clock, and neither
  // end before it moves again.
  void settle() {
    const auto keepalives = [this] {
      uint64_t sum = 0;
      for (size_t i = 0; i < 3; ++i)
        sum += b_.metric("keepalives_received_total", "worker=\"" + std::to_string(i) + "\"");
      return sum;
    };
    const uint64_t before = keepalives();
    test::clock_ns += std::chrono::nanoseconds(protocol::kKeepaliveTimeout).count();
    ASSERT_TRUE(pump([&] { return keepalives() > before; }));
  }
  // What was sent may be received before its sender has counted it.
  void expect_equal_counts() {
    EXPECT_TRUE(pump([this] {
      return peer_of(a_).sent_bytes == peer_of(b_).received_bytes &&
             peer_of(b_).sent_bytes == peer_of(a_).received_bytes;
    }));
  }
  static uint64_t sealed(const Node& node, size_t worker) {
    return node.metric("messages_sealed_total", "worker=\"" + std::to_string(worker) + "\"");
  }
  static PeerState peer_of(const Node& node) { return std::move(node.device->state().peers.at(0)); }

  Node a_{1, "wg", planned(4)}, b_{2, "wg", planned(3)};
  uint32_t sequence_ = 0;
};

TEST_F(WorkerPoolTest, StartsAsManyWorkersAsPlanned) {
  EXPECT_EQ(a_.device->state().workers, 4u);
  EXPECT_EQ(a_.inner_device.queue_count(), 4u);
  transfer_from_all_queues();
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(sealed(a_, i), 1u) << "worker " << i;
  expect_equal_counts();
}

TEST_F(WorkerPoolTest, HasEachWorkerSendWhatItStagedOnceTheHandshakeIsDone) {
  for (size_t i = 0; i < 4; ++i) a_.inner_device.queue(i).push(next_packet());
  ASSERT_TRUE(pump([&] { return b_.inner_device.written() == 4; }));
  EXPECT_EQ(a_.handshakes("initiation_sent"), 1u);
}

TEST_F(WorkerPoolTest, GrowsAndShrinksAndCountsOn) {
  transfer_from_all_queues();
  for (const uint32_t count : {6u, 2u, 1u, 3u, 8u, 4u}) {
    const PeerState before = peer_of(a_);
    ASSERT_EQ(a_.device->set_workers(count), 0) << count;
    EXPECT_EQ(a_.device->state().workers, count);
    EXPECT_EQ(a_.inner_device.queue_count(), count);
    EXPECT_GE(peer_of(a_).sent_bytes, before.sent_bytes);
    EXPECT_GE(peer_of(a_).received_bytes, before.received_bytes);
    transfer_from_all_queues();
  }
  expect_equal_counts();
  uint64_t sum = 0;
  for (size_t i = 0; i < 8; ++i) sum += sealed(a_, i);
  EXPECT_EQ(sum, 4u + 6 + 2 + 1 + 3 + 8 + 4) << "with those that are no more";
}

TEST_F(WorkerPoolTest, ReceivesEveryPeersDataAtOneWorkerThroughRekeys) {
  const auto opened_by = [&] {
    std::set<size_t> workers;
    for (size_t i = 0; i < 3; ++i)
      if (b_.metric("messages_opened_total", "worker=\"" + std::to_string(i) + "\"") > 0) workers.insert(i);
    return workers;
  };
  for (int i = 0; i < 5; ++i) {
    const uint64_t before = peer_of(b_).last_handshake_seconds;
    transfer(a_, 0, b_);
    ASSERT_TRUE(pump([&] { return peer_of(b_).last_handshake_seconds > before; }));
    transfer_from_all_queues();
    settle();
    test::clock_ns += std::chrono::nanoseconds(protocol::kRekeyAfterTime - protocol::kKeepaliveTimeout).count();
  }
  EXPECT_GE(a_.handshakes("initiation_sent") + b_.handshakes("initiation_sent"), 4u);
  EXPECT_EQ(opened_by().size(), 1u);
}

TEST_F(WorkerPoolTest, GoesOnThroughChangesOfPortAndLink) {
  transfer_from_all_queues();
  ASSERT_EQ(b_.device->set_listen_port(0), 0);
  EXPECT_EQ(a_.device->set_endpoint(public_key(b_.key), b_.at()), 0);
  transfer_from_all_queues();
  ASSERT_TRUE(a_.device->set_link_up(false));
  ASSERT_EQ(a_.device->set_workers(6), 0) << "without sockets";
  ASSERT_EQ(a_.device->set_workers(5), 0);
  ASSERT_TRUE(a_.device->set_link_up(true));
  test::clock_ns += std::chrono::nanoseconds(protocol::kRekeyTimeout).count();
  transfer_from_all_queues();
}

TEST_F(WorkerPoolTest, HandsOnWhatIsStagedToTheOnlyWorkerThatIsLeft) {
  ASSERT_TRUE(b_.device->set_link_up(false));
  for (const size_t queue : {3u, 0u, 1u}) {
    a_.inner_device.queue(queue).push(next_packet());
    const std::string worker = "worker=\"" + std::to_string(queue) + "\"";
    ASSERT_TRUE(pump([&] { return a_.metric("packets_staged_total", worker) == 1; }));
  }
  ASSERT_EQ(a_.device->set_workers(1), 0);
  EXPECT_EQ(a_.drops("staging_full"), 0u);
  ASSERT_TRUE(b_.device->set_link_up(true));
  EXPECT_EQ(a_.device->set_endpoint(public_key(b_.key), b_.at()), 0);
  test::clock_ns += std::chrono::nanoseconds(2 * protocol::kRekeyTimeout).count();
  EXPECT_TRUE(pump([&] { return b_.inner_device.written() == 3; }));
}

TEST_F(WorkerPoolTest, DropsWhatIsStagedWhenItsWorkerGoes) {
  ASSERT_TRUE(b_.device->set_link_up(false));
  a_.inner_device.queue(3).push(next_packet());
  ASSERT_TRUE(pump([&] { return a_.metric("packets_staged_total", "worker=\"3\"") == 1; }));
  ASSERT_EQ(a_.device->set_workers(2), 0);
  EXPECT_EQ(a_.drops("staging_full"), 1u);
  ASSERT_TRUE(b_.device->set_link_up(true));
  EXPECT_EQ(a_.device->set_endpoint(public_key(b_.key), b_.at()), 0);
  test::clock_ns += std::chrono::nanoseconds(2 * protocol::kRekeyTimeout).count();
  transfer_from_all_queues();
}

TEST_F(WorkerPoolTest, RefusesANumberThatCannotBe) {
  EXPECT_EQ(a_.device->set_workers(0), EINVAL);
  EXPECT_EQ(a_.device->set_workers(129), EINVAL);
  a_.inner_device.most_queues = 5;
  EXPECT_EQ(a_.device->set_workers(7), EMFILE);
  EXPECT_EQ(a_.device->state().workers, 4u);
  EXPECT_EQ(a_.inner_device.queue_count(), 4u);
  transfer_from_all_queues();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which have an allocator of their own

// What a peer takes that is configured, with an endpoint and an address, before it has keypairs.
TEST(WorkerPool, TakesLessThanTwoKibibytesForEachOfTenThousandPeersOnEightWorkers) {
  constexpr size_t kPeers = 10'000;
  Node node(1, "wg", planned(8));
  const auto allocated = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  const size_t before = allocated();
  node.device->begin_turn(test::now(), test::wall_now());
  for (size_t n = 0; n < kPeers; ++n) {
    Key key{};
    std::memcpy(key.data(), &n, sizeof n);
    key[31] = 1;
    PeerOrigin origin{};
    ASSERT_EQ(node.device->select_peer(key, origin), 0);
    node.device->set_endpoint(key, pipeline::test::endpoint("192.0.2.1:5"));
    Prefix address = test::prefix("10.0.0.0/32");
    std::memcpy(address.address.data() + 2, &n, 2);
    node.device->add_allowed_ip(key, address);
    node.device->finish_peer(key);
  }
  node.device->end_of_operation();
  const size_t each = (allocated() - before) / kPeers + 8 * sizeof(pipeline::PeerTraffic);
  RecordProperty("bytes", static_cast<int>(each));
  EXPECT_LT(each, 2048u);
  EXPECT_GT(each, 256u) << "it was measured";
}

#endif

TEST(WorkerPool, HasOneWorkerWhereTheInnerSideCannotBeSteered) {
  pipeline::Published published;
  const auto control = io::Wakeup::open();
  FakeInnerDevice inner;
  inner.steerable = false;
  WorkerPool pool(published, *control, test::now, io::Engine::epoll);
  ASSERT_TRUE(pool.start(inner, planned(4)));
  EXPECT_EQ(pool.size(), 1u);
  EXPECT_EQ(inner.queue_count(), 1u);
  EXPECT_EQ(pool.socket_steering(), nullptr);
  EXPECT_EQ(pool.resize(2, nullptr, [](const pipeline::Worker&) {}).error().number, EOPNOTSUPP);
}

TEST(WorkerPool, GoesOnWithAsManyWorkersAsThereCanBeQueues) {
  pipeline::Published published;
  const auto control = io::Wakeup::open();
  FakeInnerDevice inner;
  inner.most_queues = 3;
  WorkerPool pool(published, *control, test::now, io::Engine::epoll);
  ASSERT_TRUE(pool.start(inner, planned(4)));
  EXPECT_EQ(pool.size(), 3u);
  EXPECT_EQ(pool.table().workers(), 3u);
}

TEST(WorkerPool, GivesAllSlotsToSomeOfItsWorkers) {
  pipeline::Published published;
  const auto control = io::Wakeup::open();
  FakeInnerDevice inner;
  WorkerPool pool(published, *control, test::now, io::Engine::epoll);
  ASSERT_TRUE(pool.start(inner, planned(4)));
  EXPECT_EQ(pool.serving(), 4u);
  for (const size_t serving : {1u, 3u, 2u, 2u, 4u}) {
    ASSERT_TRUE(pool.serve(serving));
    EXPECT_EQ(pool.serving(), serving);
    EXPECT_EQ(pool.size(), 4u);
    EXPECT_EQ(inner.queue_count(), 4u);
  }
  for (const size_t impossible : {0u, 5u}) EXPECT_EQ(pool.serve(impossible).error().number, EINVAL);
  ASSERT_TRUE(pool.serve(1));
  ASSERT_TRUE(pool.resize(5, nullptr, [](const pipeline::Worker&) {}));
  EXPECT_EQ(pool.serving(), 5u) << "whoever changes the number begins with all";
}

TEST(WorkerPool, RefusesCpusThatAreNotThere) {
  pipeline::Published published;
  const auto control = io::Wakeup::open();
  FakeInnerDevice inner;
  WorkerPool pool(published, *control, test::now, io::Engine::epoll);
  WorkerPlan plan = planned(1);
  plan.cpus = {{4095}};
  EXPECT_EQ(pool.start(inner, plan).error().number, EINVAL);
}

}  // namespace
}  // namespace culvert::device
