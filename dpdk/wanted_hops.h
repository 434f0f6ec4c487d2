// Next hops whose MAC address workers miss, on their way to who can ask for them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "io/endpoint.h"
#include "io/wakeup.h"

namespace culvert::dpdk {

// Thread safety: want() and tell_gone() from any worker; take() from one thread, which waits for the wakeup.
class WantedHops {
 public:
  // The wakeup outlives it.
  explicit WantedHops(const io::Wakeup& wakeup) : wakeup_(wakeup) {}

  // Never waits. False: it is one too many, or comes too soon after the last, and is forgotten: want it again.
  bool want(const io::Address& hop);
  std::vector<io::Address> take();

  // The port was taken away: wakes whoever waits, once.
  void tell_gone();

 private:
  static constexpr size_t kMost = 64;

  const io::Wakeup& wakeup_;
  std::atomic<uint64_t> quiet_until_{0};  // cycles; relaxed: a hint
  std::atomic<bool> told_gone_{false};
  std::mutex mutex_;
  std::vector<io::Address> hops_;  // by mutex_
};

}  // namespace culvert::dpdk
