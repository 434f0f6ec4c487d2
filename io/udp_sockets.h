// The UDP sockets of a device: v4 and v6 on one port, set up for trains in both directions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"
#include "io/syscalls.h"

namespace culvert::io {

// A train is datagrams of one size to or from one endpoint, back to back in memory, the last one possibly shorter
// (udp(7), UDP_SEGMENT and UDP_GRO). The kernel cuts a longer one in software, datagram by datagram (Linux 6.18,
// loopback and veth: a frame of gso_max_size, 65536, is too long). 65493 for v4; v6 headers are 20 bytes longer.
inline constexpr size_t kMaxTrainBytes = 65473;
inline constexpr size_t kMaxTrainDatagrams = 128;

struct UdpOptions {
  uint16_t port = 0;    // 0: any port that is free for both families
  uint32_t fwmark = 0;  // SO_MARK; 0: none
  bool gso = true;      // UDP_SEGMENT, if the kernel has it
  bool gro = true;      // UDP_GRO, from Linux 5.12 on
  // Memory is taken only when filled; bench/RESULTS.md has what the default would cost.
  int receive_buffer_bytes = 8 << 20;
  int send_buffer_bytes = 8 << 20;
};

// Thread safety: made, changed and destroyed by one thread, which makes sure that nobody uses it any more
// when it is destroyed. Everything const may be called by any thread, disable_gso() and limit_train_datagrams() too.
//
// Invariants: at least one family has a socket; every socket is non-blocking and bound to port().
class UdpSockets {
 public:
  // Opens and binds the sockets. A family that the host does not have (EAFNOSUPPORT) is left out; a buffer
  // size, UDP_SEGMENT or UDP_GRO that the kernel refuses is done without. Errors: EADDRINUSE, EPERM (fwmark
  // without CAP_NET_ADMIN), EAFNOSUPPORT (neither family), EMFILE and so on. `syscalls` must outlive the
  // result.
  static Result<std::unique_ptr<UdpSockets>> open(const UdpOptions& options,
                                                  const Syscalls& syscalls = kernel_syscalls());

  // The port that the sockets are bound to, host byte order; never 0.
  uint16_t port() const { return port_; }

  // The socket of a family; -1 if there is none.
  int fd(Family family) const { return family == Family::v4 ? v4_.get() : family == Family::v6 ? v6_.get() : -1; }

  // Sets SO_MARK of the sockets from now on; 0 removes it. Error: EPERM without CAP_NET_ADMIN.
  Status set_fwmark(uint32_t fwmark);

  // Whether trains go out by UDP_SEGMENT.
  bool gso_active() const { return gso_active_.load(std::memory_order_relaxed); }

  // Whether the kernel hands trains up by UDP_GRO.
  bool gro_active() const { return gro_active_; }

  // How many datagrams the kernel takes in one UDP_SEGMENT message: kMaxTrainDatagrams (from Linux 6.9 on)
  // until it refuses more than 64, then 64. 1 when UDP_SEGMENT is off.
  uint16_t max_train_datagrams() const {
    return gso_active() ? max_train_datagrams_.load(std::memory_order_relaxed) : 1;
  }

  // Stops UDP_SEGMENT for good. True for the one caller who stopped it.
  bool disable_gso() { return gso_active_.exchange(false, std::memory_order_relaxed); }

  // Lowers max_train_datagrams(). True for the one caller who lowered it.
  bool limit_train_datagrams(uint16_t datagrams) {
    return max_train_datagrams_.exchange(datagrams, std::memory_order_relaxed) > datagrams;
  }

  const Syscalls& syscalls() const { return *syscalls_; }

 private:
  explicit UdpSockets(const Syscalls& syscalls);

  Status open_family(Family family, const UdpOptions& options);
  Status open_both(const UdpOptions& options);
  void enable_offloads(const UdpOptions& options);

  // Constant after open().
  const Syscalls* syscalls_;
  Fd v4_, v6_;
  uint16_t port_ = 0;
  bool gro_active_ = false;

  // Hints that any sender may lower; a sender who reads a stale one is refused again and comes to the same
  // conclusion. Relaxed, no partner.
  std::atomic<bool> gso_active_{false};
  std::atomic<uint16_t> max_train_datagrams_;
};

}  // namespace culvert::io
