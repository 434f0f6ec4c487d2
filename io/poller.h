// Waiting for several descriptors at once (epoll, level-triggered).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::io {

struct PollEvent {
  uint64_t tag = 0;
  bool readable = false;
  bool writable = false;
  bool hung_up = false;  // error or hang-up; reading tells which
};

// Thread safety: add(), modify() and remove() from any thread, also while another one waits; wait() from the
// owner.
class Poller {
 public:
  enum Interest : uint32_t { kNone = 0, kRead = 1, kWrite = 2 };

  // Errors: EMFILE, ENFILE, ENOMEM.
  static Result<Poller> open();

  // Reports `fd` with `tag` from now on. `interest`: kRead, kWrite or both; hang-ups are always reported.
  // Errors: EEXIST (is there already), EPERM (not pollable, such as a plain file), ENOMEM.
  Status add(int fd, uint64_t tag, uint32_t interest = kRead);

  // Changes tag and interest. Error: ENOENT.
  Status modify(int fd, uint64_t tag, uint32_t interest);

  // Forgets `fd`; call it before closing the descriptor. Error: ENOENT.
  Status remove(int fd);

  // Waits until something is ready, at most `timeout` (none: without end; 0: just looks; a millisecond or more is
  // rounded up to whole ones, and so is less before Linux 5.11). Returns the events that were filled in; empty on a
  // timeout and when a signal came.
  std::span<PollEvent> wait(std::span<PollEvent> events,
                            std::optional<std::chrono::nanoseconds> timeout = std::nullopt);

  // Readable while something is ready, so that one Poller can wait for another. Constant.
  int fd() const { return fd_.get(); }

 private:
  explicit Poller(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
};

}  // namespace culvert::io
