// Frames whose next hop has no MAC address yet, while somebody asks for it: as many as a few handshakes and the first
// packets behind them are. The kernel keeps about as many.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "dpdk/next_hops.h"
#include "dpdk/wanted_hops.h"
#include "io/endpoint.h"

namespace culvert::dpdk {

// Thread safety: one worker's.
class WaitingFrames {
 public:
  static constexpr size_t kMost = 64;

  WaitingFrames() = default;
  ~WaitingFrames();
  WaitingFrames(const WaitingFrames&) = delete;
  WaitingFrames& operator=(const WaitingFrames&) = delete;

  bool empty() const { return count_ == 0; }
  // Keeps a frame with an empty MAC address of who gets it. `asked`: WantedHops has taken its next hop. False: too many
  // wait, and the frame is the caller's still.
  bool add(rte_mbuf* mbuf, const io::Address& remote, bool asked);

  struct Taken {
    std::array<rte_mbuf*, kMost> ready;    // with the MAC address in them, in order
    std::array<rte_mbuf*, kMost> expired;  // which have waited too long
    size_t ready_count = 0, expired_count = 0;
  };
  // Gives the frames up whose wait is over; they are the caller's. Asks for those whose next hop was forgotten.
  void take(const NextHops& hops, WantedHops& wanted, Taken& taken);

 private:
  struct Frame {
    rte_mbuf* mbuf = nullptr;
    io::Address remote;
    uint64_t until = 0;  // cycles
    bool asked = false;
  };

  std::array<Frame, kMost> frames_;
  size_t count_ = 0;
};

}  // namespace culvert::dpdk
