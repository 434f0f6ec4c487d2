#include "io/udp_queue.h"

namespace culvert::io {

std::array<int, 2> UdpQueue::poll_fds() const {
  return {sockets_.fd(Family::v4), sockets_.fd(Family::v6)};
}

OuterCounters UdpQueue::counters() const {
  OuterCounters counters;
  receiver_.add_counters(counters);
  sender_.add_counters(counters);
  counters.gso_active = sockets_.gso_active();
  counters.gro_active = sockets_.gro_active();
  return counters;
}

}  // namespace culvert::io
