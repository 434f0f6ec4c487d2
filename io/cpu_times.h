// How a thread gets on with the host's processors.
#pragma once

#include <chrono>
#include <optional>

#include "io/fd.h"

namespace culvert::io {

// Of a thread, since it began.
struct CpuTimes {
  std::chrono::nanoseconds ran{0};
  std::chrono::nanoseconds waited{0};  // for a processor, although it had something to do
};

// Thread safety: any thread may read(), at the same time as others.
class CpuTimesReader {
 public:
  // Reads nothing.
  CpuTimesReader() = default;
  // Of the calling thread, and to be read by any.
  static CpuTimesReader of_this_thread();

  // Nothing where the kernel does not tell (no /proc, no CONFIG_SCHED_INFO), or the thread has ended. As of its last
  // tick or switch.
  std::optional<CpuTimes> read() const;

 private:
  Fd schedstat_;
};

}  // namespace culvert::io
