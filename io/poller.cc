#include "io/poller.h"

#include <sys/epoll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <string>

namespace culvert::io {
namespace {

// More events than this come with the next wait().
constexpr size_t kMaxEvents = 64;

Status control(int poller, int operation, const char* action, int fd, uint64_t tag, uint32_t interest) {
  epoll_event event{};
  event.data.u64 = tag;
  event.events = ((interest & Poller::kRead) != 0 ? uint32_t{EPOLLIN} : 0) |
                 ((interest & Poller::kWrite) != 0 ? uint32_t{EPOLLOUT} : 0);
  if (epoll_ctl(poller, operation, fd, &event) != 0)
    return Error{errno, std::string(action) + " descriptor " + std::to_string(fd)};
  return Success{};
}

int milliseconds(std::optional<std::chrono::nanoseconds> timeout) {
  if (!timeout) return -1;
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
  return static_cast<int>(std::clamp<int64_t>(rounded, 0, std::numeric_limits<int>::max()));
}

// epoll_wait(2), but to the nanosecond for less than a millisecond, where the kernel has that (Linux 5.11).
int wait_for_events(int poller, epoll_event* events, int room, std::optional<std::chrono::nanoseconds> timeout) {
  static std::atomic<bool> is_exact{true};  // relaxed: whoever reads an old value finds out as well
  if (timeout && timeout->count() > 0 && *timeout < std::chrono::milliseconds(1) &&
      is_exact.load(std::memory_order_relaxed)) {
    const timespec span{.tv_sec = 0, .tv_nsec = timeout->count()};
    const int count = epoll_pwait2(poller, events, room, &span, nullptr);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
    is_exact.store(false, std::memory_order_relaxed);
  }
  return epoll_wait(poller, events, room, milliseconds(timeout));
}

}  // namespace

Result<Poller> Poller::open() {
  Fd fd(epoll_create1(EPOLL_CLOEXEC));
  if (!fd) return Error{errno, "open epoll"};
  return Poller(std::move(fd));
}

Status Poller::add(int fd, uint64_t tag, uint32_t interest) {
  return control(fd_.get(), EPOLL_CTL_ADD, "poll", fd, tag, interest);
}

Status Poller::modify(int fd, uint64_t tag, uint32_t interest) {
  return control(fd_.get(), EPOLL_CTL_MOD, "change polled", fd, tag, interest);
}

Status Poller::remove(int fd) {
  return control(fd_.get(), EPOLL_CTL_DEL, "stop polling", fd, 0, kNone);
}

std::span<PollEvent> Poller::wait(std::span<PollEvent> events, std::optional<std::chrono::nanoseconds> timeout) {
  epoll_event ready[kMaxEvents];
  const int room = static_cast<int>(std::min(events.size(), kMaxEvents));
  const int count = std::max(0, wait_for_events(fd_.get(), ready, room, timeout));
  for (int i = 0; i < count; ++i) {
    const uint32_t bits = ready[i].events;
    events[i] = {.tag = ready[i].data.u64,
                 .readable = (bits & EPOLLIN) != 0,
                 .writable = (bits & EPOLLOUT) != 0,
                 .hung_up = (bits & (EPOLLERR | EPOLLHUP)) != 0};
  }
  return events.first(static_cast<size_t>(count));
}

}  // namespace culvert::io
