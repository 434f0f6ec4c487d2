#include "dpdk/waiting_frames.h"

#include <rte_cycles.h>

#include <algorithm>
#include <optional>
#include <span>

namespace culvert::dpdk {
namespace {

// The kernel has asked three times by then, and given up.
constexpr uint64_t kMostSeconds = 3;

}  // namespace

WaitingFrames::~WaitingFrames() {
  for (const Frame& frame : std::span(frames_).first(count_)) rte_pktmbuf_free(frame.mbuf);
}

bool WaitingFrames::add(rte_mbuf* mbuf, const io::Address& remote, bool asked) {
  if (count_ == frames_.size()) return false;
  frames_[count_++] = {mbuf, remote, rte_rdtsc() + kMostSeconds * rte_get_tsc_hz(), asked};
  return true;
}

void WaitingFrames::take(const NextHops& hops, WantedHops& wanted, Taken& taken) {
  const uint64_t now = rte_rdtsc();
  taken.ready_count = taken.expired_count = 0;
  size_t kept = 0;
  for (Frame& frame : std::span(frames_).first(count_)) {
    if (const MacAddress* const next_hop = hops.find(frame.remote)) {
      std::copy(next_hop->begin(), next_hop->end(), rte_pktmbuf_mtod(frame.mbuf, uint8_t*));
      taken.ready[taken.ready_count++] = frame.mbuf;
    } else if (frame.until > now) {
      if (const std::optional<io::Address> hop = hops.hop_to(frame.remote); hop && !frame.asked)
        frame.asked = wanted.want(*hop);
      frames_[kept++] = frame;
    } else {
      taken.expired[taken.expired_count++] = frame.mbuf;
    }
  }
  count_ = kept;
}

}  // namespace culvert::dpdk
