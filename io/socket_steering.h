// What a group of UDP sockets asks of whoever steers datagrams to its members. io/udp_steering.h has the kernel's ways.
#pragma once

#include <cstdint>
#include <span>

#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::io {

// A group is the sockets of all members on one port and family, and is known by its first socket. Thread safety: none,
// the control thread's. It outlives the sockets.
class SocketSteering {
 public:
  virtual ~SocketSteering() = default;

  // `first` is not bound yet and will be the first of a group, of which `members` sockets are planned. It has
  // SO_REUSEPORT off before and after, so that bind(2) refuses a port that is taken. After bind(2) the caller switches
  // SO_REUSEPORT on, of `first` and of every socket that joins. From the first datagram on our choice holds.
  virtual Status prepare(Family family, int first, size_t members) = 0;

  // The sockets of a group that is bound now, by member: after the first bind, and whenever one joined or is about to
  // be closed (then without it). An error leaves the group as it was.
  virtual Status place(Family family, uint16_t port, std::span<const int> by_member) = 0;

  // The group whose first socket this was is about to be closed.
  virtual void forget(int first) = 0;
};

}  // namespace culvert::io
