// A batch of reads, writes, sends or receives in one system call: io_uring.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <span>

#include "io/result.h"

namespace culvert::io {

// Thread safety: made and destroyed by any thread; run() by one and the same.
//
// The kernel issues the entries of a submission one after the other, in order, and none of ours may wait there
// (MSG_DONTWAIT, RWF_NOWAIT), so all are done when run() returns. Sends and writes are linked: one that fails cancels
// those behind it, which is what keeps them in order. Files are not registered (it saves 55 ns a packet): a ring that
// goes lets them go in a kernel thread some time later, and until then a port stays bound and a TUN device in use.
class Ring {
 public:
  static constexpr unsigned kEntries = 64;

  // read and write: for files, `messages` give the memory alone. send and receive: for sockets.
  enum class Operation : uint8_t { read, write, send, receive };

  // Errors: ENOSYS (a kernel without io_uring), EPERM (kernel.io_uring_disabled or a seccomp filter), ENOMEM, EMFILE;
  // the context names the reason.
  static Result<std::unique_ptr<Ring>> open();

  virtual ~Ring() = default;

  // Does `operation` with each message, at most kEntries, and sets its result: bytes, or a negative errno;
  // -ECANCELED for what was not tried because one before it failed, or because one of all makes no sense (too many
  // parts, say), which the kernel sees before it starts.
  virtual void run(Operation operation, int fd, std::span<mmsghdr> messages, std::span<int> results) = 0;
};

}  // namespace culvert::io
