// A gateway in one process for dpdk_bench: real pipelines between ports in memory, whose other ends the benchmark
// holds.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/data_path_ends.h"
#include "dpdk/eal.h"
#include "dpdk/inner_port.h"
#include "dpdk/next_hops.h"
#include "dpdk/outer_port.h"
#include "dpdk/port.h"

namespace culvert::bench {

// Starts DPDK with hugepages if enough of them are free, else with ordinary memory. Never looks for devices. Ends the
// program with a message when that fails. Returns whether there are hugepages.
bool start_eal();

// A port whose wire is two rings of mbufs. Rings are pointers: what it costs is the call of the driver.
class RingPort {
 public:
  RingPort(rte_mempool* pool, uint32_t mtu);
  RingPort(const RingPort&) = delete;
  RingPort& operator=(const RingPort&) = delete;

  [[nodiscard]] const dpdk::Port& port() const { return *port_; }
  void arrive(std::span<rte_mbuf*> mbufs);
  // Takes what has left, up to the size of `mbufs`. Returns how many.
  [[nodiscard]] size_t take(std::span<rte_mbuf*> mbufs);
  // Frees what has left, as the driver of a network card does with what was sent.
  size_t complete();

 private:
  static constexpr unsigned kEntries = 16384;

  rte_ring* arriving_;
  rte_ring* leaving_;
  std::unique_ptr<dpdk::Port> port_;
};

// An inner port that joins packets, as if the device behind it cut them.
class JoiningPort final : public io::InnerSide {
 public:
  JoiningPort(dpdk::InnerPort& port, bool joins) : port_(port), joins_(joins) {}
  io::ReadOutcome read(io::PlainBatch& batch) override { return port_.read(batch); }
  void release(io::PlainBatch& batch) override { port_.release(batch); }
  size_t write(std::span<const io::GatheredPacket> packets) override { return port_.write(packets); }
  [[nodiscard]] io::InnerOffloads offloads() const override {
    io::InnerOffloads offloads = port_.offloads();
    offloads.tcp4 = offloads.tcp6 = offloads.checksum = offloads.joining_pays = joins_;
    offloads.max_parts = 40;
    return offloads;
  }
  [[nodiscard]] const io::InnerCounters& counters() const override { return port_.counters(); }

 private:
  dpdk::InnerPort& port_;
  bool joins_;
};

// Two gateways with a tunnel between them: the near one seals, the far one opens.
class World {
 public:
  World(const std::string& name, uint32_t mtu, uint32_t mbufs);

  dpdk::Pool pool;
  RingPort near_inner, near_outer, far_outer, far_inner;
  dpdk::PublishedNextHops near_hops, far_hops, near_inside, far_inside;
  dpdk::InnerPort near_inner_side, far_inner_side;
  dpdk::OuterPort near_outer_side, far_outer_side;
  DataPathEnd near_end, far_end;
};

}  // namespace culvert::bench
