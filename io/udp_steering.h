// Brings each datagram to the socket of the worker that serves it, by a program on the SO_REUSEPORT group.
//
// Transport data goes to the worker of its slot (io/steering_table.h): by the top byte of its receiver index and, where
// that says so, by its source port. All else goes to worker 0. The kernel asks once for a train, by the first datagram;
// a train may mix receiver indices, so every worker has to open what is another's.
//
// The program is there before the group has a port, so no datagram is ever hashed. The kernel's hash chooses only where
// the table names a worker whose socket is gone. Another process of the same user may join the group by SO_REUSEPORT:
// that is the price.
#pragma once

#include <cstddef>
#include <map>
#include <optional>

#include "io/bpf_object.h"
#include "io/fd.h"
#include "io/socket_steering.h"
#include "io/steering_map.h"

namespace culvert::io {

// By eBPF: members come, go and are replaced, and the table changes at run time.
class EbpfSocketSteering : public SocketSteering {
 public:
  // `map` must outlive this object.
  explicit EbpfSocketSteering(const SteeringMap& map) : map_(map) {}

  // Errors: EPERM without CAP_BPF, those of bpf(2) and of setsockopt(2).
  Status prepare(Family family, int first, size_t members) override;
  // Any number up to kMaxWorkers. Takes effect for one member after the other. Errors: EINVAL for a socket that is not
  // bound, EBUSY for one that stands in another group or in a SOCKMAP.
  Status place(Family family, uint16_t port, std::span<const int> by_member) override;
  void forget(int first) override { groups_.erase(first); }

 private:
  struct Group {
    Fd members;         // the BPF map of its sockets
    size_t placed = 0;  // how many of these there may be
  };

  Status load();

  const SteeringMap& map_;
  std::optional<BpfObject> object_;  // once loaded; each group has a copy of its program
  std::map<int, Group> groups_;      // by the group's first socket
};

// By classic BPF, which needs no privileges: member i has to be the i-th that joined, and the number planned is fixed.
// Agrees with a SteeringTable(members) that is never resized.
class ClassicSocketSteering : public SocketSteering {
 public:
  Status prepare(Family family, int first, size_t members) override;
  // Fewer than planned may be there while the group is opened. Errors: EOPNOTSUPP for any other change.
  Status place(Family family, uint16_t port, std::span<const int> by_member) override;
  void forget(int first) override { groups_.erase(first); }

 private:
  struct Group {
    size_t planned = 0, joined = 0;
  };
  std::map<int, Group> groups_;
};

}  // namespace culvert::io
