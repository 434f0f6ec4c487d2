// Ports in memory for tests: rings of mbufs that DPDK takes for network cards. No hugepages, no device of the machine.
#pragma once

#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <memory>
#include <string>
#include <vector>

#include "dpdk/eal.h"
#include "dpdk/next_hops.h"
#include "dpdk/port.h"
#include "tests/pipeline/peers.h"

namespace culvert::dpdk::test {

using Bytes = std::vector<uint8_t>;

// Starts DPDK once for the process, and never ends it: mempools of static storage outlive every test.
inline void start_eal() {
  static const auto* const eal = new auto(
      Eal::start({"--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "128", "--log-level", "error"}));
  ASSERT_TRUE(*eal) << eal->error().text();
}

inline std::string unique_name(const std::string& what) {
  static int number = 0;
  return what + std::to_string(number++);
}

struct FreeRing {
  void operator()(rte_ring* ring) const { rte_ring_free(ring); }
};

// A port whose wire is two rings, at whose other end the test sits.
struct RingPort {
  RingPort(rte_mempool* pool_of_port, const PortOptions& options = {}, unsigned entries = 1024)
      : pool(pool_of_port), arriving(make_ring(entries)), leaving(make_ring(entries)) {
    rte_ring* const in = arriving.get();
    rte_ring* const out = leaving.get();
    rte_ring* const ins[] = {in};
    rte_ring* const outs[] = {out};
    name = unique_name("ring");
    id = rte_eth_from_rings(name.c_str(), ins, 1, outs, 1, SOCKET_ID_ANY);
    EXPECT_GE(id, 0);
    auto opened = Port::open(static_cast<uint16_t>(id), options, {&pool, 1});
    EXPECT_TRUE(opened) << opened.error().text();
    port = std::move(*opened);
  }
  ~RingPort() {
    port.reset();
    for (rte_ring* const ring : {arriving.get(), leaving.get()})
      for (void* mbuf = nullptr; rte_ring_dequeue(ring, &mbuf) == 0;) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  }

  static std::unique_ptr<rte_ring, FreeRing> make_ring(unsigned entries) {
    rte_ring* const ring =
        rte_ring_create(unique_name("wire").c_str(), entries, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    EXPECT_NE(ring, nullptr);
    return std::unique_ptr<rte_ring, FreeRing>(ring);
  }

  // A frame arrives, in pieces if `cuts` says where they begin.
  rte_mbuf* arrive(const Bytes& frame, const std::vector<size_t>& cuts = {}) {
    rte_mbuf* first = nullptr;
    for (size_t i = 0; i <= cuts.size(); ++i) {
      const size_t begin = i == 0 ? 0 : cuts[i - 1], end = i < cuts.size() ? cuts[i] : frame.size();
      rte_mbuf* const mbuf = rte_pktmbuf_alloc(pool);
      EXPECT_NE(mbuf, nullptr);
      std::copy(frame.begin() + static_cast<long>(begin), frame.begin() + static_cast<long>(end),
                reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(end - begin))));
      if (first == nullptr)
        first = mbuf;
      else
        EXPECT_EQ(rte_pktmbuf_chain(first, mbuf), 0);
    }
    EXPECT_EQ(rte_ring_enqueue(arriving.get(), first), 0);
    return first;
  }

  // The next frame that left; null if there is none. The caller frees it.
  rte_mbuf* left() {
    void* mbuf = nullptr;
    return rte_ring_dequeue(leaving.get(), &mbuf) == 0 ? static_cast<rte_mbuf*>(mbuf) : nullptr;
  }

  rte_mempool* pool;
  std::unique_ptr<rte_ring, FreeRing> arriving, leaving;
  std::string name;
  int id = -1;
  std::unique_ptr<Port> port;
};

inline Bytes bytes_of(const rte_mbuf* mbuf) {
  Bytes bytes;
  for (; mbuf != nullptr; mbuf = mbuf->next) {
    const auto* const at = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    bytes.insert(bytes.end(), at, at + mbuf->data_len);
  }
  return bytes;
}

// All that left, freed.
inline std::vector<Bytes> take_frames(RingPort& port) {
  std::vector<Bytes> frames;
  while (rte_mbuf* const mbuf = port.left()) {
    rte_mbuf_sanity_check(mbuf, 1);
    frames.push_back(bytes_of(mbuf));
    rte_pktmbuf_free(mbuf);
  }
  return frames;
}

inline Pool test_pool(uint32_t mbufs = 2047, uint32_t mtu = 1500) {
  start_eal();
  auto pool = make_pool(unique_name("pool"), mbufs, mtu, SOCKET_ID_ANY);
  EXPECT_TRUE(pool) << pool.error().text();
  return std::move(*pool);
}

using pipeline::test::address;
using pipeline::test::endpoint;

inline constexpr MacAddress kNextMac = {2, 0, 0, 0, 0, 9};

// A host at both addresses, and everybody else behind one router.
inline NextHops host_at(const MacAddress& mac, const std::string& v4 = "192.0.2.1",
                        const std::string& v6 = "[2001:db8::1]", uint16_t vlan = 0) {
  NextHops hops;
  hops.link = {mac, vlan};
  hops.addresses = {{address(v4), 32}, {address(v6), 128}};
  hops.gateways = {address("198.51.100.1"), address("[fe80::1]")};
  hops.neighbours = {{address("198.51.100.1"), kNextMac}, {address("[fe80::1]"), kNextMac}};
  return hops;
}

}  // namespace culvert::dpdk::test
