// Workers where the kernel refuses eBPF, all of it or the programs of sockets alone, as old kernels and sandboxes do.
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <sys/syscall.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "src/log.h"
#include "tests/cap_bpf.h"
#include "tests/device/device_nodes.h"
#include "tests/forbidden_call.h"

namespace culvert::device {
namespace {

using pipeline::test::eventually;
using test::Node;
using test::PacketSpec;
using test::public_key;
using testing::HasSubstr;

constexpr size_t kWorkers = 3;

WorkerPlan three_workers() {
  WorkerPlan plan;
  plan.count = kWorkers;
  plan.insisted = true;
  return plan;
}

// Runs it where bpf(2) is refused, or one command of it. What it logs.
std::string without_bpf(std::optional<uint32_t> command, const std::function<void()>& run) {
  open_log(LogLevel::verbose, "wg");
  testing::internal::CaptureStdout();
  std::thread([&] {
    culvert::test::forbid_call(__NR_bpf, EPERM, command);
    run();
  }).join();
  open_log(LogLevel::error, "wg");
  return testing::internal::GetCapturedStdout();
}

// Three peers, so one for each worker: home slots are given out one after the other.
struct Peers {
  explicit Peers(Node& node) : node_(node) {
    for (Node& peer : peers_) {
      node_.add_peer(public_key(peer.key), {});
      peer.add_peer(public_key(node_.key), node_.at());
    }
  }

  static uint64_t opened(const Node& node, size_t worker) {
    return node.metric("messages_opened_total", "worker=\"" + std::to_string(worker) + "\"");
  }

  // Each sends packets until its worker has opened one.
  void call() {
    for (size_t i = 0; i < kWorkers; ++i) {
      const uint64_t before = opened(node_, i);
      PacketSpec spec;
      spec.sequence = ++sequence_;
      peers_[i].inner.push(pipeline::test::superpacket(spec));
      EXPECT_TRUE(eventually([&] {
        node_.turn();
        peers_[i].turn();
        return opened(node_, i) > before;
      })) << "peer "
          << i;
    }
  }

  Node& node_;
  std::array<Node, kWorkers> peers_{Node(2), Node(3), Node(4)};
  uint32_t sequence_ = 0;
};

class FewerPowersTest : public testing::Test {
 protected:
  void SetUp() override {
    NEEDS_CAP_BPF();
    test::clock_ns = std::chrono::nanoseconds(std::chrono::hours(1)).count();
  }
};

TEST_F(FewerPowersTest, ClassicBpfSteersToAFixedNumberOfWorkers) {
  const std::string log = without_bpf(BPF_PROG_LOAD, [] {
    Node node(1, "wg", three_workers());
    ASSERT_EQ(node.device->state().workers, kWorkers);
    Peers peers(node);
    peers.call();
    ASSERT_EQ(node.device->set_listen_port(0), 0);
    for (Node& peer : peers.peers_) EXPECT_EQ(peer.device->set_endpoint(public_key(1), node.at()), 0);
    peers.call();
    for (const uint32_t count : {1u, 2u, 4u}) EXPECT_EQ(node.device->set_workers(count), EOPNOTSUPP);
    EXPECT_EQ(node.device->set_workers(kWorkers), 0);
    peers.call();
  });
  EXPECT_THAT(log,
              HasSubstr("Workers: 3; datagrams are steered by classic BPF, because of: load the BPF programs of "
                        "udp_steering (needs CAP_BPF, and a sandbox that allows bpf(2)): Operation not permitted"));
  EXPECT_THAT(log, HasSubstr("there can be no other number of workers here: datagrams are steered by classic BPF"));
}

TEST_F(FewerPowersTest, WithoutAnyEbpfThereIsOneWorkerAndTheLogSaysWhy) {
  const std::string log = without_bpf(std::nullopt, [] {
    Node node(1, "wg", three_workers());
    EXPECT_EQ(node.device->state().workers, 1u);
    EXPECT_EQ(node.device->set_workers(2), EOPNOTSUPP);
  });
  EXPECT_THAT(log, HasSubstr("ERROR: (wg) "));
  EXPECT_THAT(log, HasSubstr("Workers: 1 instead of 3, because of: make the steering table (eBPF; needs CAP_BPF, and a "
                             "sandbox that allows bpf(2)): Operation not permitted"));
}

}  // namespace
}  // namespace culvert::device
