#include "src/daemon/signals.h"

#include <initializer_list>

namespace culvert::daemon {
namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
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

}  // namespace culvert::daemon
