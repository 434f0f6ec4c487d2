// The system calls of both sides as a table, so that tests can make each one fail. Plain function pointers: a call
// through the table costs what a call through the PLT does.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ctime>

namespace culvert::io {

// Each member behaves as the call of its name in section 2 of the manual, errno included.
struct Syscalls {
  // Sockets.
  int (*socket)(int domain, int type, int protocol) = ::socket;
  int (*bind)(int fd, const sockaddr* address, socklen_t length) = ::bind;
  int (*getsockname)(int fd, sockaddr* address, socklen_t* length) = ::getsockname;
  int (*setsockopt)(int fd, int level, int name, const void* value, socklen_t length) = ::setsockopt;
  int (*sendmmsg)(int fd, mmsghdr* messages, unsigned count, int flags) = ::sendmmsg;
  int (*recvmmsg)(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) = ::recvmmsg;
  // Packet devices.
  ssize_t (*read)(int fd, void* bytes, size_t length) = ::read;
  ssize_t (*writev)(int fd, const iovec* parts, int count) = ::writev;

  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms) = ::poll;
};

// The table of the real kernel. Lives as long as the program.
inline const Syscalls& kernel_syscalls() {
  static constexpr Syscalls kTable{};
  return kTable;
}

}  // namespace culvert::io
