#include "io/udp_queue.h"

#include "io/uring/ring_transfer.h"

namespace culvert::io {

std::unique_ptr<UdpQueue> UdpQueue::make(UdpSockets& sockets, Engine engine) {
  if (chosen_engine(engine) == Engine::io_uring) {
    if (auto ring = Ring::open()) {
      return std::make_unique<UdpQueue>(sockets,
                                        std::make_unique<RingTransfer>(std::move(*ring), RingTransfer::For::sockets));
    }
  }
  return std::make_unique<UdpQueue>(sockets);
}

std::array<int, 2> UdpQueue::poll_fds() const {
  return {sockets_.fd(Family::v4), sockets_.fd(Family::v6)};
}

OuterCounters UdpQueue::counters() const {
  OuterCounters counters;
  receiver_.add_counters(counters);
  sender_.add_counters(counters);
  counters.gso_active = sockets_.gso_active();
  counters.gro_active = sockets_.gro_active();
  counters.engine = transfer_->engine();
  return counters;
}

}  // namespace culvert::io
