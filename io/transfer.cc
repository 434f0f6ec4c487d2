#include "io/transfer.h"

#include <algorithm>
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

Transferred PacketTransfer::send(int fd, std::span<mmsghdr> messages) {
  Transferred sent;
  while (sent.count < messages.size()) {
    const msghdr& header = messages[sent.count].msg_hdr;
    const ssize_t written = syscalls_.writev(fd, header.msg_iov, static_cast<int>(header.msg_iovlen));
    if (written >= 0) {
      messages[sent.count++].msg_len = static_cast<unsigned>(written);
    } else if (errno != EINTR) {
      sent.error = errno;
      break;
    }
  }
  return sent;
}

Transferred PacketTransfer::receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) {
  Transferred received;
  const size_t wanted = std::min(messages.size(), expected_);
  for (size_t bytes = 0; received.count < wanted && bytes < budget_bytes;) {
    mmsghdr& message = messages[received.count];
    const ssize_t got = syscalls_.read(fd, message.msg_hdr.msg_iov->iov_base, message.msg_hdr.msg_iov->iov_len);
    if (got >= 0) {
      message.msg_len = static_cast<unsigned>(got);
      bytes += message.msg_len;
      ++received.count;
    } else if (errno != EINTR) {
      received.error = errno == EAGAIN ? 0 : errno;
      break;
    }
  }
  expected_ = received.count == wanted ? std::min(2 * wanted, kMostExpected) : std::max<size_t>(received.count, 1);
  return received;
}

}  // namespace culvert::io
