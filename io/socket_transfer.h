// Batches of datagrams by sendmmsg and recvmmsg.
#pragma once

#include "io/syscalls.h"
#include "io/transfer.h"

namespace culvert::io {

// Thread safety: as Transfer. `budget_bytes` is not looked at: a call takes all that it has room for.
class SocketTransfer final : public Transfer {
 public:
  // `syscalls` must outlive it.
  explicit SocketTransfer(const Syscalls& syscalls) : syscalls_(syscalls) {}

  Transferred send(int fd, std::span<mmsghdr> messages) override;
  Transferred receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) override;
  Engine engine() const override { return Engine::epoll; }

 private:
  const Syscalls& syscalls_;
};

}  // namespace culvert::io
