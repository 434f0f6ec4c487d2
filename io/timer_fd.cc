#include "io/timer_fd.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace culvert::io {
namespace {

void set_time(int fd, std::chrono::nanoseconds when) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(when);
  itimerspec time{};
  time.it_value.tv_sec = seconds.count();
  time.it_value.tv_nsec = (when - seconds).count();
  timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, nullptr);
}

}  // namespace

Result<TimerFd> TimerFd::open() {
  Fd fd(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!fd) return Error{errno, "open timerfd"};
  return TimerFd(std::move(fd));
}

void TimerFd::arm(std::chrono::nanoseconds when) const {
  // 0 would disarm (timerfd_settime(2)).
  set_time(fd_.get(), std::max(when, std::chrono::nanoseconds(1)));
}

void TimerFd::disarm() const {
  set_time(fd_.get(), std::chrono::nanoseconds(0));
}

bool TimerFd::drain() const {
  uint64_t expirations = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), &expirations, sizeof expirations);
  } while (got < 0 && errno == EINTR);
  return got == sizeof expirations;
}

}  // namespace culvert::io
