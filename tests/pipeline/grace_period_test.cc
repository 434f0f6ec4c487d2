// What the control thread may free and when: two workers under traffic while everything that is published to them
// is replaced. ThreadSanitizer and AddressSanitizer are the judges.
#include "src/pipeline/grace_period.h"

#include <gtest/gtest.h>

#include "src/pipeline/worker.h"
#include "tests/pipeline/threaded_queues.h"

namespace culvert::pipeline {
namespace {

using test::Cable;
using test::CableOuter;
using test::eventually;
using test::InnerPacket;
using test::TestPeer;
using test::ThreadedInner;

protocol::Instant frozen_clock() {
  return test::kStart;
}

// The control thread's side of one end: what it has published, and what it may free after a grace period.
struct Control {
  explicit Control(const std::string& address) : at(test::endpoint(address)) { published.mtu = 1420; }

  void publish_allowed_ips() {
    auto copy = std::make_unique<protocol::AllowedIps>();
    for (const uint8_t third : {uint8_t{0}, uint8_t{1}})
      copy->insert({{10, 0, third, 1}, protocol::IpVersion::v4, 32}, &peer->path);
    published.allowed_ips.store(copy.get(), std::memory_order_release);
    retired_allowed_ips = std::exchange(allowed_ips, std::move(copy));
  }
  void publish_index_table() {
    auto table = index_table->capacity() < 512 ? index_table->grown() : std::make_unique<protocol::IndexTable>(64);
    published.index_table.store(table.get(), std::memory_order_release);
    retired_index_table = std::exchange(index_table, std::move(table));
  }
  void publish_mac1_key() {
    auto key = std::make_unique<protocol::Mac1Key>(protocol::PublicKey{});
    published.mac1_key.store(key.get(), std::memory_order_release);
    retired_mac1_key = std::exchange(mac1_key, std::move(key));
  }
  void plug_in(Cable& cable, int side) { worker->adopt_outer(std::make_unique<CableOuter>(cable, side, at)); }
  void unlist_retired_keypairs() {
    for (protocol::RetiredKeypairs& retired : peer->retired)
      for (auto& keypair : retired) index_table->erase(keypair->local_index());
  }
  void free_retired() {
    peer->retired.clear();
    retired_allowed_ips.reset();
    retired_index_table.reset();
    retired_mac1_key.reset();
    retired_peer.reset();
  }
  uint64_t opened() const { return worker->stats().messages_opened.get(); }

  io::Endpoint at;
  Published published;
  std::unique_ptr<TestPeer> peer, retired_peer;
  std::unique_ptr<protocol::AllowedIps> allowed_ips, retired_allowed_ips;
  std::unique_ptr<protocol::IndexTable> index_table = std::make_unique<protocol::IndexTable>(64), retired_index_table;
  std::unique_ptr<protocol::Mac1Key> mac1_key, retired_mac1_key;
  io::Result<io::Wakeup> wakeup = io::Wakeup::open();
  ThreadedInner inner;
  std::unique_ptr<Worker> worker;
};

class GracePeriod : public testing::Test {
 protected:
  GracePeriod() {
    for (Control* const end : {&left_, &right_}) {
      replace_peer(*end);
      end->publish_allowed_ips();
      end->published.index_table = end->index_table.get();
      auto worker = Worker::start(end->published, *end->wakeup, end->inner, {.clock = frozen_clock});
      EXPECT_TRUE(worker);
      end->worker = std::move(*worker);
      end->plug_in(cable_, end == &left_ ? 0 : 1);
    }
    begin_session();
    left_.inner.read_endlessly(packet_);
    right_.inner.read_endlessly(packet_);
  }

  ~GracePeriod() override {
    left_.worker.reset();
    right_.worker.reset();
  }

  void replace_peer(Control& end) {
    end.retired_peer = std::exchange(end.peer, std::make_unique<TestPeer>(++ids_));
    end.peer->path.endpoint.store(end.at.port == left_.at.port ? right_.at : left_.at);
  }
  void begin_session() {
    test::begin_session(*left_.index_table, *left_.peer, *right_.index_table, *right_.peer);
    left_.unlist_retired_keypairs();
    right_.unlist_retired_keypairs();
  }
  void reclaim() {
    wait_for_workers();
    left_.free_retired();
    right_.free_retired();
  }
  // Traffic still arrives, both ways.
  void expect_traffic() {
    const uint64_t left = left_.opened(), right = right_.opened();
    EXPECT_TRUE(eventually([&] { return left_.opened() > left + 10 && right_.opened() > right + 10; }));
  }

  static constexpr int kTurns = 100;

  const InnerPacket packet_ = [] {
    test::PacketSpec spec;
    spec.payload_bytes = 5000;
    return test::superpacket(spec, 1380);
  }();
  uint64_t ids_ = 0;
  Cable cable_;
  Control left_{"192.0.2.1:1001"}, right_{"192.0.2.2:1002"};
};

TEST_F(GracePeriod, CoversAllowedIps) {
  for (int i = 0; i < kTurns; ++i) {
    left_.publish_allowed_ips();
    right_.publish_allowed_ips();
    reclaim();
  }
  expect_traffic();
}

TEST_F(GracePeriod, CoversKeypairs) {
  for (int i = 0; i < kTurns; ++i) {
    begin_session();
    reclaim();
  }
  expect_traffic();
}

TEST_F(GracePeriod, CoversIndexTablesAndMac1Keys) {
  for (int i = 0; i < kTurns; ++i) {
    left_.publish_index_table();
    right_.publish_index_table();
    left_.publish_mac1_key();
    right_.publish_mac1_key();
    begin_session();
    reclaim();
  }
  expect_traffic();
}

TEST_F(GracePeriod, CoversSockets) {
  for (int i = 0; i < kTurns; ++i) {
    left_.worker->adopt_outer(nullptr);
    left_.plug_in(cable_, 0);
    right_.plug_in(cable_, 1);
  }
  expect_traffic();
}

// As Device::detach_peer() and reclaim() do it.
TEST_F(GracePeriod, CoversPeers) {
  for (int i = 0; i < kTurns; ++i) {
    for (Control* const end : {&left_, &right_}) {
      protocol::RetiredKeypairs keypairs = end->peer->keypairs.clear();
      for (auto& keypair : keypairs) end->index_table->erase(keypair->local_index());
      end->peer->retired.push_back(std::move(keypairs));
      replace_peer(*end);
      end->publish_allowed_ips();
    }
    wait_for_workers();
    for (Control* const end : {&left_, &right_}) {
      PeerPath* const path = &end->retired_peer->path;
      end->worker->drop_staged({&path, 1}, DropReason::no_peer).wait();
      EXPECT_EQ(path->staged, 0u);
      end->free_retired();
    }
    begin_session();
  }
  expect_traffic();
}

}  // namespace
}  // namespace culvert::pipeline
