#include "bench/dpdk/world.h"

#include <rte_eth_ring.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace culvert::bench {
namespace {

constexpr unsigned kPagesWanted = 160;  // of 2 MiB
constexpr dpdk::MacAddress kHostMac = {2, 0, 0, 0, 0, 9};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "dpdk_bench: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T value_of(io::Result<T> result) {
  if (!result) fail(result.error().text());
  return std::move(*result);
}

unsigned free_hugepages() {
  unsigned pages = 0;
  std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> pages;
  return pages;
}

io::Address address(const std::string& text) {
  io::Endpoint endpoint;
  if (!io::parse_endpoint(text + ":1", endpoint)) fail("cannot read " + text);
  return endpoint.remote;
}

// A host with one address, and one router for everything else.
dpdk::NextHops hops(const RingPort& ring, const std::string& own, const dpdk::MacAddress& router) {
  dpdk::NextHops result;
  result.link.mac = ring.port().mac();
  result.addresses = {{address(own), 32}};
  result.gateways = {address("198.51.100.1")};
  result.neighbours = {{address("198.51.100.1"), router}};
  return result;
}

std::string next_name() {
  static int number = 0;
  return "bench" + std::to_string(number++);
}

}  // namespace

bool start_eal() {
  const bool huge = free_hugepages() >= kPagesWanted;
  std::vector<std::string> arguments = {"--no-pci", "--no-telemetry", "--log-level", "error", "-m"};
  if (huge)
    arguments.insert(arguments.end(), {std::to_string(kPagesWanted * 2), "--in-memory"});
  else
    arguments.insert(arguments.end(), {"512", "--no-huge", "--no-shconf"});
  static const auto eal = value_of(dpdk::Eal::start(arguments));
  return huge;
}

RingPort::RingPort(rte_mempool* pool, uint32_t mtu) {
  constexpr unsigned kFlags = RING_F_SP_ENQ | RING_F_SC_DEQ;
  arriving_ = rte_ring_create(next_name().c_str(), kEntries, SOCKET_ID_ANY, kFlags);
  leaving_ = rte_ring_create(next_name().c_str(), kEntries, SOCKET_ID_ANY, kFlags);
  if (arriving_ == nullptr || leaving_ == nullptr) fail("no memory for rings");
  const std::array<rte_ring*, 1> in = {arriving_}, out = {leaving_};
  const int id = rte_eth_from_rings(next_name().c_str(), in.data(), 1, out.data(), 1, SOCKET_ID_ANY);
  if (id < 0) fail("cannot make a port of rings");
  dpdk::PortOptions options;
  options.mtu = mtu;
  port_ = value_of(dpdk::Port::open(static_cast<uint16_t>(id), options, {&pool, 1}));
}

void RingPort::arrive(std::span<rte_mbuf*> mbufs) {
  const auto count = static_cast<unsigned>(mbufs.size());
  if (rte_ring_enqueue_bulk(arriving_, reinterpret_cast<void**>(mbufs.data()), count, nullptr) != count)
    fail("a ring is full");
}

size_t RingPort::take(std::span<rte_mbuf*> mbufs) {
  return rte_ring_dequeue_burst(leaving_, reinterpret_cast<void**>(mbufs.data()), static_cast<unsigned>(mbufs.size()),
                                nullptr);
}

size_t RingPort::complete() {
  std::array<rte_mbuf*, 256> sent;
  size_t all = 0;
  while (const size_t count = take(sent)) {
    rte_pktmbuf_free_bulk(sent.data(), static_cast<unsigned>(count));
    all += count;
  }
  return all;
}

World::World(const std::string& name, uint32_t mtu, uint32_t mbufs)
    : pool(value_of(dpdk::make_pool(name, mbufs, mtu, SOCKET_ID_ANY))),
      near_inner(pool.get(), mtu),
      near_outer(pool.get(), mtu),
      far_outer(pool.get(), mtu),
      far_inner(pool.get(), mtu),
      near_hops(hops(near_outer, "192.0.2.1", far_outer.port().mac())),
      far_hops(hops(far_outer, "192.0.2.2", near_outer.port().mac())),
      near_inside(hops(near_inner, "10.255.0.1", kHostMac)),
      far_inside(hops(far_inner, "10.255.0.2", kHostMac)),
      near_inner_side(near_inner.port(), 0, near_inside),
      far_inner_side(far_inner.port(), 0, far_inside),
      near_outer_side(near_outer.port(), 0, near_hops, {{51820}, false}),
      far_outer_side(far_outer.port(), 0, far_hops, {{51820}, false}) {}

}  // namespace culvert::bench
