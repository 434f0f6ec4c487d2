#include "dpdk/outer_device.h"

#include <algorithm>
#include <numeric>

#include "dpdk/inner_device.h"
#include "tests/dpdk/ring_ports.h"

namespace culvert::dpdk {
namespace {

using test::RingPort;

struct World {
  Pool pool = test::test_pool();
  RingPort ring{pool.get()};
  PublishedNextHops hops{test::host_at(ring.port->mac())};
  OuterDevice device{*ring.port, hops};

  std::vector<uint16_t> listen(uint16_t port, const io::SourcePorts& wanted = {}) {
    auto ports = device.listen(port, wanted);
    EXPECT_TRUE(ports) << ports.error().text();
    return ports ? *ports : std::vector<uint16_t>();
  }
};

TEST(OuterDevice, ChoosesUdpPortsWhereTheKernelHasNoPort) {
  World world;
  EXPECT_EQ(world.listen(51820), std::vector<uint16_t>{51820});
  EXPECT_EQ(world.listen(51820, {3, 0}), (std::vector<uint16_t>{51820, 51821, 51822}));
  EXPECT_EQ(world.listen(0, {2, 40000}), (std::vector<uint16_t>{40000, 40001}));
  EXPECT_EQ(world.listen(40001, {3, 40000}), (std::vector<uint16_t>{40001, 40000, 40002}));
  EXPECT_EQ(world.listen(51820, {2, 40000}), (std::vector<uint16_t>{51820, 40000, 40001}));
  EXPECT_EQ(world.listen(65535, {3, 0}), (std::vector<uint16_t>{65535, 32768, 32769})) << "there is no port 65536";
  for (int i = 0; i < 100; ++i) {
    const std::vector<uint16_t> ports = world.listen(0, {io::kMaxSourcePorts, 0});
    ASSERT_EQ(ports.size(), io::kMaxSourcePorts);
    EXPECT_GE(ports.front(), 32768);
    EXPECT_EQ(ports.back(), ports.front() + io::kMaxSourcePorts - 1);
  }
}

TEST(OuterDevice, MakesSidesOfThePortsThatItListensOn) {
  World world;
  EXPECT_EQ(world.device.queue_count(), 1u);
  (void)world.listen(5555, {2, 0});
  const auto side = world.device.make_side(0);
  EXPECT_TRUE(std::ranges::equal(side->local_ports(), std::vector<uint16_t>{5555, 5556}));
  world.device.stop_listening();
  EXPECT_TRUE(world.device.make_side(0)->local_ports().empty());
  EXPECT_TRUE(std::ranges::equal(side->local_ports(), std::vector<uint16_t>{5555, 5556})) << "the old one stays";
  EXPECT_FALSE(world.device.gone());
}

TEST(InnerDevice, HasTheQueuesOfItsPort) {
  World world;
  InnerDevice inner(*world.ring.port, world.hops);
  EXPECT_EQ(inner.queue_count(), 1u);
  EXPECT_FALSE(inner.can_grow());
  EXPECT_FALSE(inner.add_queue());
}

}  // namespace
}  // namespace culvert::dpdk
