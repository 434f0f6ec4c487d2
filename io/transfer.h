// How a side moves a batch of messages between memory and a descriptor: one virtual call a batch. By plain system calls
// here, by io_uring in io/uring/ring_transfer.h.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>

#include "io/engine.h"
#include "io/syscalls.h"

namespace culvert::io {

// What became of a batch: `count` messages were moved. `error` is the errno of the one that failed behind them; 0 when
// there was none, or when only the next call can tell.
struct Transferred {
  size_t count = 0;
  int error = 0;
};

// Thread safety: none; the owner of the side. No method waits, and none keeps a pointer that it was given.
class Transfer {
 public:
  virtual ~Transfer() = default;

  // Sends messages in order, until one fails: those behind it are not tried. Sets msg_len of those that were sent.
  // `messages` must not be empty; either count or error of the result is not 0.
  virtual Transferred send(int fd, std::span<mmsghdr> messages) = 0;

  // Receives what is there, in order of arrival, into messages[0..count), until `budget_bytes` have come; a little more
  // is possible. Sets their msg_len and what recvmsg(2) sets. Messages may change places with each other, each with its
  // own buffers. Nothing there is not an error: {0, 0}.
  virtual Transferred receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) = 0;

  virtual Engine engine() const = 0;
};

// By sendmmsg and recvmmsg. `budget_bytes` is not looked at: a call takes all that it has room for.
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

// By read and writev, for packet devices: TUN knows no recvmmsg. Of a message, only the memory counts; a packet is
// received into its first part.
//
// A receive takes as many as the last one found, and twice as many after one that found all it took: a packet that
// comes alone does not wait for a read that finds nothing. What it leaves, the Poller reports again.
class PacketTransfer final : public Transfer {
 public:
  // `syscalls` must outlive it.
  explicit PacketTransfer(const Syscalls& syscalls) : syscalls_(syscalls) {}

  Transferred send(int fd, std::span<mmsghdr> messages) override;
  Transferred receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) override;
  Engine engine() const override { return Engine::epoll; }

 private:
  static constexpr size_t kMostExpected = 64;

  const Syscalls& syscalls_;
  size_t expected_ = kMostExpected;
};

}  // namespace culvert::io
