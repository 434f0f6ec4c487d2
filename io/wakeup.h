// Waking a thread that waits in a Poller.
#pragma once

#include "io/fd.h"
#include "io/result.h"

namespace culvert::io {

// An eventfd. Any thread may notify(); the woken thread drains.
class Wakeup {
 public:
  // Errors: EMFILE, ENFILE, ENOMEM.
  static Result<Wakeup> open();

  // Readable from notify() to drain(). For Poller::add().
  int fd() const { return fd_.get(); }

  // Makes fd() readable; many calls before a drain() count as one. Never blocks. Whatever the caller wrote
  // before is seen by the thread that drains after.
  void notify() const;

  // Makes fd() unreadable again. True if there had been a notify(). Call it before looking for work, or a
  // notify() may be lost.
  bool drain() const;

 private:
  explicit Wakeup(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
};

}  // namespace culvert::io
