#include "io/syscalls.h"

namespace culvert::io {

const Syscalls& kernel_syscalls() {
  static constexpr Syscalls kTable{
      .socket = ::socket,
      .bind = ::bind,
      .connect = ::connect,
      .getsockname = ::getsockname,
      .setsockopt = ::setsockopt,
      .sendmsg = ::sendmsg,
      .sendmmsg = ::sendmmsg,
      .recvmmsg = ::recvmmsg,
      .poll = ::poll,
  };
  return kTable;
}

}  // namespace culvert::io
