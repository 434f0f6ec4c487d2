#include "io/socket_transfer.h"

#include <cerrno>

namespace culvert::io {

// After a part of the messages the next call tells what was wrong with the first of the rest.
Transferred SocketTransfer::send(int fd, std::span<mmsghdr> messages) {
  const int sent =
      syscalls_.sendmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent <= 0) return {0, sent < 0 ? errno : EAGAIN};
  return {static_cast<size_t>(sent), 0};
}

Transferred SocketTransfer::receive(int fd, std::span<mmsghdr> messages, size_t /*budget_bytes*/) {
  const int got =
      syscalls_.recvmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), MSG_DONTWAIT, nullptr);
  if (got < 0) return {0, errno == EAGAIN ? 0 : errno};
  return {static_cast<size_t>(got), 0};
}

}  // namespace culvert::io
