#include "dpdk/port.h"

#include <rte_dev.h>
#include <rte_mempool.h>

#include <algorithm>

#include "tests/dpdk/ring_ports.h"

namespace culvert::dpdk {
namespace {

using test::RingPort;

TEST(Port, ThatIsNotThereIsNamedBesideThoseThatAre) {
  const Pool pool = test::test_pool();
  rte_mempool* const memory = pool.get();
  const RingPort there(memory);
  const auto opened = Port::open("0000:01:00.0", {}, {&memory, 1});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().number, ENODEV);
  EXPECT_NE(opened.error().context.find(there.name), std::string::npos) << opened.error().context;
  EXPECT_FALSE(Port::open(uint16_t{31}, {}, {&memory, 1}));
}

TEST(Port, RefusesWhatTheDeviceHasNotGot) {
  const Pool pool = test::test_pool();
  rte_mempool* const memory = pool.get();
  rte_mempool* const both[] = {memory, memory};
  const RingPort there(memory);
  PortOptions options;
  options.queues = 2;
  const auto opened = Port::open(there.port->name(), options, both);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().number, EINVAL);
  EXPECT_NE(opened.error().context.find("2 queues"), std::string::npos) << opened.error().context;
}

TEST(Port, UsesOffloadsThatAreWantedAndOffered) {
  const Pool pool = test::test_pool();
  PortOptions options;
  options.segmentation = options.coalescing = true;
  const RingPort ring(pool.get(), options);
  const PortOffloads& offloads = ring.port->offloads();
  EXPECT_TRUE(offloads.chains);
  EXPECT_GE(offloads.max_segments, 40);
  EXPECT_FALSE(offloads.udp_checksum || offloads.tcp_segmentation) << "a ring computes nothing";
  EXPECT_EQ(ring.port->kernel_interface(), 0u);
  EXPECT_TRUE(ring.port->is_up());
}

TEST(Port, IsGoneWhenItsDeviceIsUnplugged) {
  const Pool pool = test::test_pool();
  rte_mempool* const memory = pool.get();
  ASSERT_EQ(rte_eal_hotplug_add("vdev", "net_null7", ""), 0);
  auto port = Port::open("net_null7", {}, {&memory, 1});
  ASSERT_TRUE(port) << port.error().text();
  EXPECT_FALSE((*port)->gone());
  ASSERT_EQ(rte_eal_hotplug_remove("vdev", "net_null7"), 0);
  EXPECT_TRUE((*port)->gone());
  EXPECT_FALSE((*port)->is_up());
}

TEST(Pool, HoldsFramesOfTheMtuInOneMbuf) {
  test::start_eal();
  for (const uint32_t mtu : {1280U, 1500U, 9000U}) {
    auto pool = make_pool(test::unique_name("pool"), 63, mtu, SOCKET_ID_ANY);
    ASSERT_TRUE(pool) << pool.error().text();
    EXPECT_GE(rte_pktmbuf_data_room_size(pool->get()), RTE_PKTMBUF_HEADROOM + mtu + 18 + 32);
  }
  EXPECT_FALSE(make_pool(test::unique_name("pool"), 63, 65535, SOCKET_ID_ANY)) << "no mbuf is that long";
  EXPECT_FALSE(make_pool(test::unique_name("pool"), 1 << 20, 9000, SOCKET_ID_ANY)) << "there is no such memory";
}

TEST(Pool, IsOnePieceWithoutHugepages) {
  const Pool pool = test::test_pool(255);
  std::vector<uintptr_t> mbufs;
  while (rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool.get())) mbufs.push_back(reinterpret_cast<uintptr_t>(mbuf));
  ASSERT_EQ(mbufs.size(), 255u);
  const auto [first, last] = std::minmax_element(mbufs.begin(), mbufs.end());
  const size_t each = pool->header_size + pool->elt_size + pool->trailer_size;
  EXPECT_EQ(*last - *first, 254 * each) << "what af_xdp takes the pool for";
  for (const uintptr_t mbuf : mbufs) rte_pktmbuf_free(reinterpret_cast<rte_mbuf*>(mbuf));
}

}  // namespace
}  // namespace culvert::dpdk
