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

uint64_t count_of(const io::DeviceCounts& all, std::string_view name) {
  for (const io::DeviceCount& count : all.counts)
    if (count.name == name) return count.value;
  ADD_FAILURE() << name << " is not counted";
  return 0;
}

TEST(OuterDevice, AddsUpWhatItsPortAndAllOfItsSidesCounted) {
  World world;
  io::Received batch;
  for (int i = 1; i <= 2; ++i) {  // a new side for new ports, and nothing counts backwards
    (void)world.listen(static_cast<uint16_t>(5555 + i));
    const auto side = world.device.make_side(0);
    world.ring.arrive(test::Bytes(64, 0xee));
    side->receive(batch);
    side->release(batch);
    const io::DeviceCounts counts = world.device.counts();
    EXPECT_EQ(counts.device, world.ring.port->name());
    EXPECT_EQ(count_of(counts, "dpdk_port_up"), 1u);
    EXPECT_EQ(count_of(counts, "dpdk_port_received_packets_total"), static_cast<uint64_t>(i));
    EXPECT_EQ(count_of(counts, "dpdk_port_foreign_total"), static_cast<uint64_t>(i));
  }
  // What holds all mbufs leaves none for datagrams: counted, and over once they are home.
  std::vector<rte_mbuf*> held;
  while (rte_mbuf* const mbuf = rte_pktmbuf_alloc(world.pool.get())) held.push_back(mbuf);
  const auto side = world.device.make_side(0);
  io::Sending sending;
  const auto send = [&] {
    sending.clear();
    sending.count = sending.destination_count = 1;
    sending.destinations[0].envelope = {test::endpoint("203.0.113.5:51820"), 5557, 0};
    sending.datagrams[0] = {.length = 100};
    side->lend(sending);
    side->send(sending);
    return sending.lost;
  };
  EXPECT_EQ(send(), 1u);
  EXPECT_EQ(count_of(world.device.counts(), "dpdk_port_no_memory_total"), 1u);
  rte_pktmbuf_free_bulk(held.data(), static_cast<unsigned>(held.size()));
  EXPECT_EQ(send(), 0u);
  EXPECT_EQ(test::take_frames(world.ring).size(), 1u);
}

TEST(InnerDevice, HasTheQueuesOfItsPort) {
  World world;
  InnerDevice inner(*world.ring.port, world.hops);
  EXPECT_EQ(inner.queue_count(), 1u);
  EXPECT_FALSE(inner.can_grow());
  EXPECT_FALSE(inner.add_queue());
  world.ring.arrive(test::Bytes(64, 0xee));
  io::PlainBatch batch;
  EXPECT_EQ(inner.queue(0).read(batch), io::ReadOutcome::ok);
  EXPECT_EQ(count_of(inner.counts(), "dpdk_port_foreign_total"), 1u);
}

}  // namespace
}  // namespace culvert::dpdk
