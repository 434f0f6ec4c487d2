#include "dpdk/wanted_hops.h"

#include <rte_cycles.h>

#include <algorithm>
#include <utility>

namespace culvert::dpdk {
namespace {

// One hop or many: a worker wakes the other thread no oftener.
constexpr uint64_t kWakeupsPerSecond = 100;

}  // namespace

bool WantedHops::want(const io::Address& hop) {
  const uint64_t now = rte_rdtsc();
  if (now < quiet_until_.load(std::memory_order_relaxed)) return false;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return false;
  if (std::find(hops_.begin(), hops_.end(), hop) != hops_.end()) return true;
  if (hops_.size() == kMost) return false;
  hops_.push_back(hop);
  if (hops_.size() == 1) wakeup_.notify();
  return true;
}

std::vector<io::Address> WantedHops::take() {
  quiet_until_.store(rte_rdtsc() + rte_get_tsc_hz() / kWakeupsPerSecond, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  return std::exchange(hops_, {});
}

void WantedHops::tell_gone() {
  if (!told_gone_.exchange(true, std::memory_order_relaxed)) wakeup_.notify();
}

}  // namespace culvert::dpdk
