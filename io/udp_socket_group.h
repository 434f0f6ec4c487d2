// All UDP sockets of a device: for each worker one member, with sockets on all of the ports. The members of a port and
// family are one SO_REUSEPORT group of the kernel, which gives each datagram to one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/endpoint.h"
#include "io/result.h"
#include "io/socket_steering.h"
#include "io/syscalls.h"
#include "io/udp_sockets.h"

namespace culvert::io {

// A port that is taken is an error although members share it: the first member binds without SO_REUSEPORT, and sets it
// only then. From there on a program of the same user that sets it too can join (Linux lets nobody forbid that).
// One member alone does not have it, and then the kernel runs no program either.
//
// Thread safety: the owner alone; a member is its worker's, as UdpSockets says.
//
// Invariants: at least one member; all members have the same ports and families.
class UdpSocketGroup {
 public:
  // Opens the sockets of `members` workers. Ports that `before` has are taken over from there, each member's from the
  // member with its number; `before` has as many members. Without `steering` the kernel spreads by its hash of
  // addresses and ports. Errors: those of UdpSockets::open() and of the steering. `steering` and `syscalls` must
  // outlive the result.
  static Result<std::unique_ptr<UdpSocketGroup>> open(const UdpOptions& options, size_t members = 1,
                                                      SocketSteering* steering = nullptr,
                                                      const Syscalls& syscalls = kernel_syscalls(),
                                                      const UdpSocketGroup* before = nullptr);

  size_t size() const { return members_.size(); }
  UdpSockets& member(size_t index) { return *members_[index]; }

  // The ports, host byte order; the first is the base port. Constant.
  std::span<const uint16_t> ports() const { return members_[0]->ports(); }
  uint16_t port() const { return members_[0]->port(); }

  // Datagrams that its members have sent from one of ports().
  uint64_t datagrams_sent(size_t port_index) const;

  // Adds a member behind the others. An error leaves the group as it was, but for SO_REUSEPORT.
  Status add_member();

  // Closes the sockets of the last member, which is not the only one. What waits in them is lost.
  void remove_last_member();

  // As UdpSockets::set_fwmark(), for members to come too.
  Status set_fwmark(uint32_t fwmark);

 private:
  UdpSocketGroup(const UdpOptions& options, SocketSteering* steering) : options_(options), steering_(steering) {}

  Status join(const UdpSockets* before);
  Status place_all(size_t members);

  UdpOptions options_;
  SocketSteering* const steering_;
  std::vector<std::unique_ptr<UdpSockets>> members_;
};

}  // namespace culvert::io
