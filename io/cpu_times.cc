#include "io/cpu_times.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <system_error>

namespace culvert::io {

CpuTimesReader CpuTimesReader::of_this_thread() {
  CpuTimesReader reader;
  reader.schedstat_ = Fd(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  return reader;
}

// "RAN WAITED SLICES", the first two in nanoseconds (Documentation/scheduler/sched-stats.rst).
std::optional<CpuTimes> CpuTimesReader::read() const {
  std::array<char, 96> text;
  const ssize_t length = schedstat_ ? ::pread(schedstat_.get(), text.data(), text.size(), 0) : -1;
  if (length <= 0) return std::nullopt;
  const char* const end = text.data() + length;
  int64_t ran = 0, waited = 0;
  const auto [at, error] = std::from_chars(text.data(), end, ran);
  if (error != std::errc() || at == end || std::from_chars(at + 1, end, waited).ec != std::errc()) return std::nullopt;
  return CpuTimes{std::chrono::nanoseconds(ran), std::chrono::nanoseconds(waited)};
}

}  // namespace culvert::io
