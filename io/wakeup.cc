#include "io/wakeup.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>

namespace culvert::io {

Result<Wakeup> Wakeup::open() {
  Fd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return Error{errno, "open eventfd"};
  return Wakeup(std::move(fd));
}

void Wakeup::notify() const {
  const uint64_t one = 1;
  // The one other outcome is EAGAIN, when the count would overflow: readable it is then, too.
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

bool Wakeup::drain() const {
  uint64_t count = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  return got == sizeof count;
}

}  // namespace culvert::io
