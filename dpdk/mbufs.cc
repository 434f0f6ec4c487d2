#include "dpdk/mbufs.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_pause.h>

namespace culvert::dpdk {
namespace {

// A queue of 1024 frames of 1500 bytes drains in 120 us at 100 Gb/s. A link that is slower, or down, is not waited for.
constexpr uint64_t kFullWaitsPerSecond = 5000;

}  // namespace

uint16_t send_burst(uint16_t port, uint16_t queue, std::span<rte_mbuf*> mbufs) {
  const auto count = static_cast<uint16_t>(mbufs.size());
  uint16_t sent = rte_eth_tx_burst(port, queue, mbufs.data(), count);
  if (sent == count) return sent;
  const uint64_t until = rte_rdtsc() + rte_get_tsc_hz() / kFullWaitsPerSecond;
  while (sent < count && rte_rdtsc() < until) {
    rte_pause();
    sent = static_cast<uint16_t>(
        sent + rte_eth_tx_burst(port, queue, mbufs.data() + sent, static_cast<uint16_t>(count - sent)));
  }
  return sent;
}

}  // namespace culvert::dpdk
