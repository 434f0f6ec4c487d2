// Devices on loopback with inner sides in memory and a clock that only the test moves.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "src/daemon/metrics.h"
#include "src/device/device.h"
#include "src/protocol/keys.h"
#include "tests/pipeline/threaded_queues.h"

namespace culvert::device::test {

using pipeline::test::Bytes;
using pipeline::test::InnerPacket;
using pipeline::test::PacketSpec;
using pipeline::test::ThreadedInner;

// The clock of every device and worker.
inline std::atomic<int64_t> clock_ns{0};

inline protocol::Instant now() {
  return protocol::Instant(protocol::Duration(clock_ns.load()));
}
inline protocol::WallTime wall_now() {
  return protocol::WallTime(std::chrono::hours(24 * 365 * 50) + now().time_since_epoch());
}

inline SecretKey private_key(uint8_t n) {
  SecretKey key;
  std::fill(key.bytes().begin(), key.bytes().end(), n);
  return key;
}
inline Key public_key(uint8_t n) {
  return protocol::StaticIdentity(private_key(n)).public_key().bytes;
}

inline Prefix prefix(const std::string& text) {
  const auto parsed = parse_prefix(text, PrefixLength::required);
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed.value_or(Prefix{});
}

// Queues in memory. Nobody spreads packets over them but the test.
class FakeInnerDevice final : public io::InnerDevice {
 public:
  FakeInnerDevice() { queues_.push_back(std::make_unique<ThreadedInner>()); }

  size_t queue_count() const override { return queues_.size(); }
  ThreadedInner& queue(size_t i) override { return *queues_[i]; }
  bool can_grow() const override { return true; }
  io::Status add_queue() override {
    if (queues_.size() == most_queues) return io::Error{EMFILE, "add a queue"};
    queues_.push_back(std::make_unique<ThreadedInner>());
    return io::Success{};
  }
  void remove_last_queue() override {
    written_before_ += queues_.back()->written();
    queues_.pop_back();
  }
  io::Status steer(const io::SteeringMap&) override {
    if (steerable) return io::Success{};
    return io::Error{EPERM, "steer"};
  }

  // Of all queues that there ever were.
  size_t written() const {
    size_t sum = written_before_;
    for (const auto& queue : queues_) sum += queue->written();
    return sum;
  }

  // What the test sets.
  size_t most_queues = SIZE_MAX;
  bool steerable = true;

 private:
  std::vector<std::unique_ptr<ThreadedInner>> queues_;
  size_t written_before_ = 0;
};

// A device, up.
struct Node {
  explicit Node(uint8_t key_number, const std::string& name = "wg", const WorkerPlan& plan = {}) : key(key_number) {
    DeviceOptions options;
    options.name = name;
    options.worker_clock = now;
    device = std::make_unique<Device>(options, *wakeup);
    device->begin_turn(now(), wall_now());
    EXPECT_TRUE(device->start_workers(inner_device, plan));
    device->set_mtu(1420);
    EXPECT_EQ(device->set_private_key(private_key(key)), 0);
    EXPECT_TRUE(device->set_link_up(true));
    turn();
  }

  void turn() {
    device->begin_turn(now(), wall_now());
    wakeup->drain();
    while (device->attend()) {
    }
    device->advance_timers();
    device->reclaim();
  }

  uint16_t port() const { return device->state().listen_port; }
  io::Endpoint at() const { return pipeline::test::endpoint("127.0.0.1:" + std::to_string(port())); }

  // As a UAPI operation for one peer does it; an empty endpoint is left out.
  void add_peer(const Key& peer, const io::Endpoint& endpoint, uint16_t keepalive_seconds = 0) {
    PeerOrigin origin{};
    device->begin_turn(now(), wall_now());
    EXPECT_EQ(device->select_peer(peer, origin), 0);
    if (endpoint.valid()) EXPECT_EQ(device->set_endpoint(peer, endpoint), 0);
    EXPECT_EQ(device->set_persistent_keepalive(peer, keepalive_seconds), 0);
    for (const char* const allowed : {"10.0.0.0/16", "fd00::/16"})
      EXPECT_EQ(device->add_allowed_ip(peer, prefix(allowed)), 0);
    device->finish_peer(peer);
    device->end_of_operation();
    turn();
  }

  // A sample of the metrics, by all that stands before its value but the device.
  uint64_t metric(const std::string& name, const std::string& label = "") const {
    const std::string text = daemon::metrics_text(device->metrics());
    const std::string start = "\nculvert_" + name + "{device=\"wg\"" + (label.empty() ? "" : "," + label) + "} ";
    const size_t at = text.find(start);
    EXPECT_NE(at, std::string::npos) << start;
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + start.size()));
  }
  uint64_t handshakes(const std::string& kind) const {
    return metric("handshake_messages_total", "kind=\"" + kind + "\"");
  }
  uint64_t drops(const std::string& reason) const { return metric("drops_total", "reason=\"" + reason + "\""); }
  uint64_t worker(const std::string& counter) const { return metric(counter, "worker=\"0\""); }

  const uint8_t key;
  io::Result<io::Wakeup> wakeup = io::Wakeup::open();
  FakeInnerDevice inner_device;
  ThreadedInner& inner = inner_device.queue(0);
  std::unique_ptr<Device> device;
};

}  // namespace culvert::device::test
