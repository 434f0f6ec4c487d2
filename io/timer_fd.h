// A timer that a Poller can wait for.
#pragma once

#include <chrono>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::io {

// A timerfd on CLOCK_BOOTTIME, which goes on while the machine sleeps: keys have to expire then too. Thread
// safety: one owner.
class TimerFd {
 public:
  // Errors: EMFILE, ENFILE, ENOMEM.
  static Result<TimerFd> open();

  // Readable once the armed time has come. For Poller::add().
  int fd() const { return fd_.get(); }

  // Expires once at `when` (since boot, as CLOCK_BOOTTIME counts); a time that has passed expires at once.
  // Replaces the time that was armed before.
  void arm(std::chrono::nanoseconds when) const;

  // Never expires until armed again; forgets an expiry that was not drained.
  void disarm() const;

  // Makes fd() unreadable again. True if it had expired.
  bool drain() const;

 private:
  explicit TimerFd(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
};

}  // namespace culvert::io
