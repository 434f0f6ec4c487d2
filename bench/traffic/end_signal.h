// SIGTERM and SIGINT as an event.
#pragma once

#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "io/fd.h"
#include "io/poller.h"
#include "io/result.h"

namespace culvert::traffic {

// From open() on the signals no longer end the program: the poller reports `tag`. Threads: open it before starting any.
class EndSignal {
 public:
  static io::Result<EndSignal> open(io::Poller& poller, uint64_t tag) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    io::Fd fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!fd) return io::Error{errno, "open signalfd"};
    if (io::Status added = poller.add(fd.get(), tag); !added) return added.error();
    return EndSignal(std::move(fd));
  }

 private:
  explicit EndSignal(io::Fd fd) : fd_(std::move(fd)) {}

  io::Fd fd_;
};

}  // namespace culvert::traffic
