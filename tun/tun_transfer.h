// Batches of packets by read and writev: a TUN device knows no recvmmsg.
#pragma once

#include <poll.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "io/transfer.h"

namespace culvert::tun {

// The system calls of a queue as a table, so that tests can make each one fail; errno as in the manual.
struct TunSyscalls {
  ssize_t (*read)(int fd, void* bytes, size_t length);
  ssize_t (*writev)(int fd, const iovec* parts, int count);
  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms);
};
const TunSyscalls& kernel_tun_syscalls();

// Of a message, only the memory counts; a packet is received into its first part. Thread safety: as io::Transfer.
//
// A receive takes as many as the last one found, and twice as many after one that found all it took: a packet that
// comes alone does not wait for a read that finds nothing. What it leaves, the Poller reports again.
class TunTransfer final : public io::Transfer {
 public:
  // `syscalls` must outlive it.
  explicit TunTransfer(const TunSyscalls& syscalls) : syscalls_(syscalls) {}

  io::Transferred send(int fd, std::span<mmsghdr> messages) override;
  io::Transferred receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) override;
  io::Engine engine() const override { return io::Engine::epoll; }

 private:
  static constexpr size_t kMostExpected = 64;

  const TunSyscalls& syscalls_;
  size_t expected_ = kMostExpected;
};

}  // namespace culvert::tun
