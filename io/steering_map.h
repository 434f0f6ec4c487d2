// The slot table where the programs in the kernel read it: the sockets' (io/udp_steering.h) and the TUN device's
// (tun/tun_steering.h) share one, so that one system call changes both.
#pragma once

#include <memory>

#include "io/fd.h"
#include "io/result.h"
#include "io/steering_table.h"

namespace culvert::io {

// Thread safety: none, the control thread's. Lifetime: the kernel keeps the table for as long as a program uses it.
class SteeringMap {
 public:
  // Errors say why there is no eBPF here, and go into the log: EPERM without CAP_BPF or where a sandbox forbids bpf(2),
  // EOPNOTSUPP for a build without libbpf or without clang, EINVAL and ENOSYS for old kernels.
  static Result<std::unique_ptr<SteeringMap>> create(const SteeringTable& table);

  // From now on `table` holds, for every datagram and packet that the kernel has not put into a queue yet. Slots change
  // one after the other, not all at once. Errors: those of bpf(2), then the old table holds.
  Status set(const SteeringTable& table);

  // The table that holds.
  const SteeringTable& table() const { return table_; }

  // Of the BPF map: one entry of kSlots bytes.
  int fd() const { return fd_.get(); }

 private:
  SteeringMap(Fd fd, const SteeringTable& table) : fd_(std::move(fd)), table_(table) {}

  Fd fd_;
  SteeringTable table_;
};

}  // namespace culvert::io
