// Devices whose outer side is a port in place of sockets.
#include "io/outer_device.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/device/device_nodes.h"

namespace culvert::device {
namespace {

using pipeline::test::Cable;
using pipeline::test::CableOuter;
using pipeline::test::eventually;

// One end of a cable as a port with some queues, of which the first brings everything.
class CablePort final : public io::OuterDevice {
 public:
  CablePort(Cable& cable, int end, size_t queues) : cable_(cable), end_(end), queues_(queues) {}

  size_t queue_count() const override { return queues_; }
  io::Result<std::vector<uint16_t>> listen(uint16_t port, const io::SourcePorts& wanted) override {
    if (port == taken) return io::Error{EADDRINUSE, "bind"};
    listening = {port != 0 ? port : uint16_t{7000}};
    while (listening.size() < wanted.count) listening.push_back(static_cast<uint16_t>(listening.back() + 1));
    return listening;
  }
  void stop_listening() override { listening.clear(); }
  std::unique_ptr<io::OuterSide> make_side(size_t queue) override {
    ++sides;
    return std::make_unique<CableOuter>(queue == 0 ? cable_ : nothing_, end_,
                                        pipeline::test::endpoint(end_ == 0 ? "192.0.2.1:7000" : "192.0.2.2:7000"));
  }
  bool gone() const override { return false; }

  uint16_t taken = 1;
  std::vector<uint16_t> listening;
  size_t sides = 0;

 private:
  Cable& cable_;
  Cable nothing_;
  const int end_;
  const size_t queues_;
};

class OuterDeviceTest : public testing::Test {
 protected:
  struct End {
    End(Cable& cable, int number, size_t queues) : port(cable, number, queues) {
      DeviceOptions options;
      options.outer = &port;
      options.worker_clock = test::now;
      device = std::make_unique<Device>(options, *wakeup);
      device->begin_turn(test::now(), test::wall_now());
    }
    void turn() {
      device->begin_turn(test::now(), test::wall_now());
      wakeup->drain();
      while (device->attend()) {
      }
      device->advance_timers();
      device->reclaim();
    }

    CablePort port;
    io::Result<io::Wakeup> wakeup = io::Wakeup::open();
    test::FakeInnerDevice inner;
    std::unique_ptr<Device> device;
  };

  static WorkerPlan plan(size_t count) {
    WorkerPlan wanted;
    wanted.count = count;
    return wanted;
  }

  Cable cable_;
};

TEST_F(OuterDeviceTest, HasAWorkerForEachQueueAndNoOtherNumber) {
  End end(cable_, 0, 3);
  ASSERT_TRUE(end.device->start_workers(end.inner, plan(3)));
  EXPECT_EQ(end.inner.queue_count(), 3u);
  EXPECT_EQ(end.device->metrics().workers_now, 3u);
  EXPECT_EQ(end.device->set_workers(2), EOPNOTSUPP);
  EXPECT_EQ(end.device->set_workers(3), 0);
}

TEST_F(OuterDeviceTest, NeedsAnInnerSideThatIsSteeredForSeveralWorkers) {
  End end(cable_, 0, 2);
  end.inner.steerable = false;
  const io::Status started = end.device->start_workers(end.inner, plan(2));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().text().find("use --workers 1"), std::string::npos) << started.error().text();
}

TEST_F(OuterDeviceTest, ListensWhileTheLinkIsUp) {
  End end(cable_, 0, 1);
  ASSERT_TRUE(end.device->start_workers(end.inner, {}));
  EXPECT_EQ(end.device->set_listen_port(end.port.taken), EADDRINUSE) << "also before the link is up";
  EXPECT_EQ(end.device->set_listen_port(5555), 0);
  EXPECT_TRUE(end.port.listening.empty()) << "that was a question";
  ASSERT_TRUE(end.device->set_link_up(true));
  EXPECT_EQ(end.port.listening, std::vector<uint16_t>{5555});
  EXPECT_EQ(end.port.sides, 1u);
  EXPECT_EQ(end.device->set_source_ports({3, 0}), 0);
  EXPECT_EQ(end.port.listening.size(), 3u);
  EXPECT_EQ(end.device->set_listen_port(end.port.taken), EADDRINUSE);
  EXPECT_EQ(end.device->state().listen_port, 5555) << "what it was stays";
  EXPECT_EQ(end.port.listening[0], 5555);
  ASSERT_TRUE(end.device->set_link_up(false));
  EXPECT_TRUE(end.port.listening.empty());
}

TEST_F(OuterDeviceTest, ShakesHandsAndCarriesPackets) {
  End a(cable_, 0, 1), b(cable_, 1, 1);
  uint8_t number = 1;
  for (End* const end : {&a, &b}) {
    ASSERT_TRUE(end->device->start_workers(end->inner, {}));
    end->device->set_mtu(1420);
    EXPECT_EQ(end->device->set_private_key(test::private_key(number)), 0);
    ASSERT_TRUE(end->device->set_link_up(true));
    const Key peer = test::public_key(static_cast<uint8_t>(3 - number++));
    PeerOrigin origin{};
    EXPECT_EQ(end->device->select_peer(peer, origin), 0);
    EXPECT_EQ(end->device->add_allowed_ip(peer, test::prefix("10.0.0.0/16")), 0);
    if (end == &a) EXPECT_EQ(end->device->set_endpoint(peer, pipeline::test::endpoint("192.0.2.2:7000")), 0);
    end->device->finish_peer(peer);
    end->device->end_of_operation();
  }
  a.inner.queue(0).push(pipeline::test::superpacket({}));
  EXPECT_TRUE(eventually([&] {
    a.turn();
    b.turn();
    return b.inner.queue(0).written() == 1;
  }));
}

}  // namespace
}  // namespace culvert::device
