// The UDP sockets of one worker: v4 and v6 on each port of the device, set up for trains in both directions.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "io/counters.h"
#include "io/endpoint.h"
#include "io/fd.h"
#include "io/poller.h"
#include "io/result.h"
#include "io/socket_steering.h"
#include "io/source_ports.h"
#include "io/syscalls.h"

namespace culvert::io {

// A train is datagrams of one size to or from one endpoint, back to back in memory, the last one possibly shorter
// (udp(7), UDP_SEGMENT and UDP_GRO). The kernel cuts a longer one in software, datagram by datagram (Linux 6.18,
// loopback and veth: a frame of gso_max_size, 65536, is too long). 65493 for v4; v6 headers are 20 bytes longer.
inline constexpr size_t kMaxTrainBytes = 65473;
inline constexpr size_t kMaxTrainDatagrams = 128;

struct UdpOptions {
  uint16_t port = 0;  // the base port; 0: the first one of a range, or any that is free for both families
  SourcePorts source_ports{};
  uint32_t fwmark = 0;  // SO_MARK; 0: none
  bool gso = true;      // UDP_SEGMENT, if the kernel has it
  bool gro = true;      // UDP_GRO, from Linux 5.12 on
  bool wide = false;    // listens on addresses and ports that are not bound (io/listen_wide.h), and answers from them
  // Memory is taken only when filled; bench/RESULTS.md has what the default would cost.
  int receive_buffer_bytes = 8 << 20;
  int send_buffer_bytes = 8 << 20;
};

// Thread safety: made, changed and destroyed by one thread, which makes sure that nobody uses it any more
// when it is destroyed. Everything const may be called by any thread, disable_gso() and limit_train_datagrams() too;
// poller() is its side's.
//
// Invariants: at least one family has sockets, on every port; every socket is non-blocking and bound.
class UdpSockets {
 public:
  // What a group opens its members with.
  struct InGroup {
    const UdpSockets* before = nullptr;  // whose sockets are taken over, on ports that both have
    SocketSteering* steering = nullptr;  // for the first member; null: none. It outlives the sockets
    size_t planned_members = 1;          // for the steering
  };

  // Opens and binds the sockets. A family that the host does not have (EAFNOSUPPORT) is left out; a buffer
  // size, UDP_SEGMENT or UDP_GRO that the kernel refuses is done without. Errors: EADDRINUSE (the context names the
  // port: the base port, or any of a range), EPERM (fwmark without CAP_NET_ADMIN), EAFNOSUPPORT (neither family),
  // EMFILE and so on, and those of the steering. `syscalls` must outlive the result.
  static Result<std::unique_ptr<UdpSockets>> open(const UdpOptions& options,
                                                  const Syscalls& syscalls = kernel_syscalls()) {
    return open(options, syscalls, InGroup());
  }
  static Result<std::unique_ptr<UdpSockets>> open(const UdpOptions& options, const Syscalls& syscalls,
                                                  const InGroup& in_group);

  // Opens sockets beside those of `first`, on the same ports, after first.share().
  static Result<std::unique_ptr<UdpSockets>> join(const UdpOptions& options, const UdpSockets& first,
                                                  const UdpSockets* before = nullptr);

  // Lets others of this user join the ports (SO_REUSEPORT). They were bound without it, so nobody else has them.
  Status share() const;

  // Opens one more socket, with SO_REUSEPORT, that this object does not know: to send from, or for a group after
  // share(). Its receive buffer is the smallest. Any thread. Errors: EADDRINUSE and so on.
  Result<Fd> open_joiner(Family family, uint16_t port) const;

  // Whether datagrams come to ports and addresses that are not bound, and leave from there.
  bool is_wide() const { return options_.wide; }

  // The ports, host byte order, none of them 0; the first is the base port. Constant.
  std::span<const uint16_t> ports() const { return ports_; }
  uint16_t port() const { return ports_[0]; }

  // Which of ports() this is; ports().size() if it is none of them.
  size_t index_of(uint16_t port) const;

  // The socket of a family on one of ports(); -1 if there is none.
  int fd(Family family, size_t port_index = 0) const {
    const PortSockets& sockets = *sockets_[port_index];
    return family == Family::v4 ? sockets.v4.get() : family == Family::v6 ? sockets.v6.get() : -1;
  }

  // Datagrams that were sent from one of ports(), for the side to count and any thread to read.
  Counter& datagrams_sent(size_t port_index) const { return datagrams_sent_[port_index]; }

  // Where the sockets are watched if there is more than one port; else null. A tag is tag_of() its socket.
  Poller* poller() { return poller_ ? &*poller_ : nullptr; }
  static uint64_t tag_of(Family family, size_t port_index) { return 2 * port_index + (family == Family::v6 ? 1 : 0); }
  static Family family_of_tag(uint64_t tag) { return tag % 2 == 0 ? Family::v4 : Family::v6; }
  static size_t port_index_of_tag(uint64_t tag) { return tag / 2; }

  // Sets SO_MARK of the sockets from now on; 0 removes it. Error: EPERM without CAP_NET_ADMIN.
  Status set_fwmark(uint32_t fwmark);
  uint32_t fwmark() const { return fwmark_.load(std::memory_order_relaxed); }

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
  // Those of one port, and of two UdpSockets while one takes over from the other.
  struct PortSockets {
    PortSockets() = default;
    PortSockets(const PortSockets&) = delete;
    PortSockets& operator=(const PortSockets&) = delete;
    ~PortSockets();

    Fd v4, v6;
    SocketSteering* steering = nullptr;  // that knows them
  };

  UdpSockets(const UdpOptions& options, const Syscalls& syscalls, const InGroup& in_group);

  Status open_all();
  Status open_range();
  Result<bool> open_neighbours();
  Status add_port(uint16_t wanted);
  Status open_socket(Family family, uint16_t& port, Fd& fd, SocketSteering* steering, bool joins) const;
  Status finish();
  Status watch();

  // Visits (family, port index, descriptor) of every socket until a visit is false. Whether none was.
  template <typename Visit>
  bool for_each_socket(const Visit& visit) const {
    for (size_t i = 0; i < ports_.size(); ++i)
      for (const Family family : {Family::v4, Family::v6})
        if (fd(family, i) >= 0 && !visit(family, i, fd(family, i))) return false;
    return true;
  }

  // Constant after open().
  const UdpOptions options_;
  const Syscalls* syscalls_;
  InGroup in_group_;    // its `before` is null once all are open
  bool joins_ = false;  // SO_REUSEPORT before bind
  std::vector<uint16_t> ports_;
  std::vector<std::shared_ptr<PortSockets>> sockets_;  // of each port
  std::unique_ptr<Counter[]> datagrams_sent_;          // of each port
  std::optional<Poller> poller_;
  bool gro_active_ = false;

  std::atomic<uint32_t> fwmark_;  // relaxed: it tells of nothing else

  // Hints that any sender may lower; a sender who reads a stale one is refused again and comes to the same
  // conclusion. Relaxed, no partner.
  std::atomic<bool> gso_active_{false};
  std::atomic<uint16_t> max_train_datagrams_;
};

}  // namespace culvert::io
