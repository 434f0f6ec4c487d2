#include "tun/tun_transfer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace culvert::tun {

const TunSyscalls& kernel_tun_syscalls() {
  static constexpr TunSyscalls kSyscalls = {::read, ::writev, ::poll};
  return kSyscalls;
}

io::Transferred TunTransfer::send(int fd, std::span<mmsghdr> messages) {
  io::Transferred sent;
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

io::Transferred TunTransfer::receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) {
  io::Transferred received;
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

}  // namespace culvert::tun
