#include "src/daemon/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "io/fd.h"

namespace culvert::daemon {
namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

constexpr rlim_t kMostDescriptors = 1 << 20;  // fs.nr_open, unless somebody raised it

void close_each(unsigned first, unsigned last) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t end = std::min(limit.rlim_max, kMostDescriptors);
  for (unsigned fd = first; fd <= last && fd < end; ++fd) ::close(static_cast<int>(fd));
}

}  // namespace

sigset_t end_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  for (const int signal : {SIGHUP, SIGQUIT})
    if (!is_ignored(signal)) sigaddset(&set, signal);
  return set;
}

void block_end_signals() {
  const sigset_t set = end_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

void open_missing_standard_streams() {
  int fd = 0;
  while (fd >= 0 && fd <= STDERR_FILENO) fd = ::open("/dev/null", O_RDWR);
  if (fd >= 0) ::close(fd);
}

void close_all_but(std::span<const int> kept, CloseRange close_range) {
  std::vector<int> stays(kept.begin(), kept.end());
  std::sort(stays.begin(), stays.end());
  unsigned first = STDERR_FILENO + 1;
  const auto close_to = [&](unsigned last) {
    if (first <= last && close_range(first, last, 0) != 0) close_each(first, last);
  };
  for (const int fd : stays) {
    if (fd < static_cast<int>(first)) continue;
    close_to(static_cast<unsigned>(fd) - 1);
    first = static_cast<unsigned>(fd) + 1;
  }
  close_to(UINT_MAX);
}

void forbid_core_dumps() {
  // No mapping of ours goes into a core: for gcore(1), which minds no PR_SET_DUMPABLE. There may be no /proc.
  constexpr std::string_view kNothing = "0";
  const io::Fd filter(::open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC));
  [[maybe_unused]] const ssize_t written = ::write(filter.get(), kNothing.data(), kNothing.size());
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

}  // namespace culvert::daemon
