// The system calls of the outer side as a table, so that tests can make each one fail. Plain function
// pointers: a call through the table costs what a call through the PLT does.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <ctime>

namespace culvert::io {

// Each member behaves as the call of its name in section 2 of the manual, errno included.
struct Syscalls {
  int (*socket)(int domain, int type, int protocol);
  int (*bind)(int fd, const sockaddr* address, socklen_t length);
  int (*connect)(int fd, const sockaddr* address, socklen_t length);
  int (*getsockname)(int fd, sockaddr* address, socklen_t* length);
  int (*setsockopt)(int fd, int level, int name, const void* value, socklen_t length);
  ssize_t (*sendmsg)(int fd, const msghdr* message, int flags);
  int (*sendmmsg)(int fd, mmsghdr* messages, unsigned count, int flags);
  int (*recvmmsg)(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout);
  int (*poll)(pollfd* fds, nfds_t count, int timeout_ms);
};

// The table of the real kernel. Lives as long as the program.
const Syscalls& kernel_syscalls();

}  // namespace culvert::io
