// Sockets to send from ports that a device listens on (io/listen_wide.h) without being bound to them. Each is bound
// when it is first needed: of as many as a wide range has, most would never be used.
//
// Whoever calls many ports by turns has a socket opened for each answer, some 20 us each: 64 at most for a batch, which
// costs a worker about what the answers in it do. The others of such a batch leave from the base port.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "io/endpoint.h"
#include "io/fd.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// Thread safety: the owner of the sender that it belongs to. While a WideListener listens they receive nothing.
class PortSenders {
 public:
  static constexpr size_t kMost = 64;  // then the one that was not used for longest is closed

  // Like the sockets of `sockets`, which outlives it.
  explicit PortSenders(const UdpSockets& sockets) : sockets_(sockets) { slots_.reserve(kMost); }

  // What find() yields stays open until the next batch.
  void begin_batch() { ++batch_; }

  // The slot, below kMost, of a socket of the family on the port. Nothing if it cannot be bound (another user has the
  // port) or if this batch needs more than kMost.
  std::optional<size_t> find(Family family, uint16_t port);
  int fd(size_t slot) const { return slots_[slot].fd.get(); }

 private:
  struct Slot {
    Fd fd;  // none: the port was refused
    Family family = Family::none;
    uint16_t port = 0;
    uint32_t fwmark = 0;
    uint64_t used = 0;  // the last batch that needed it
  };

  Slot* find_known(Family family, uint16_t port);
  Slot* make_room();

  const UdpSockets& sockets_;
  std::vector<Slot> slots_;
  uint64_t batch_ = 1;
};

}  // namespace culvert::io
