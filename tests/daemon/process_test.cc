#include "src/daemon/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

namespace culvert::daemon {
namespace {

// What `work` yields in a process of its own.
int in_a_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(EndSignals, HoldHangUpAndQuitUnlessTheyWereIgnored) {
  EXPECT_EQ(in_a_child([] {
              std::signal(SIGHUP, SIG_DFL);
              std::signal(SIGQUIT, SIG_IGN);
              const sigset_t set = end_signals();
              return sigismember(&set, SIGINT) | sigismember(&set, SIGTERM) << 1 | sigismember(&set, SIGHUP) << 2 |
                     sigismember(&set, SIGQUIT) << 3;
            }),
            0b0111);
}

TEST(CloseAllBut, ClosesWhatIsNotKeptAlsoWithoutCloseRange) {
  const CloseRange without = [](unsigned, unsigned, int) {
    errno = ENOSYS;
    return -1;
  };
  for (const CloseRange close_range : {CloseRange{::close_range}, without}) {
    EXPECT_EQ(in_a_child([close_range] {
                int fds[6];
                for (int& fd : fds) fd = ::dup(STDOUT_FILENO);
                const int far = ::fcntl(STDOUT_FILENO, F_DUPFD, 900);
                const int kept[] = {fds[4], STDOUT_FILENO, fds[1], 777};
                close_all_but(kept, close_range);
                for (const int fd : {fds[0], fds[2], fds[3], fds[5], far})
                  if (::fcntl(fd, F_GETFD) != -1) return 1;
                for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, fds[1], fds[4]})
                  if (::fcntl(fd, F_GETFD) == -1) return 2;
                return 0;
              }),
              0);
  }
}

TEST(OpenMissingStandardStreams, GivesTheirNumbersToNobodyElse) {
  EXPECT_EQ(in_a_child([] {
              ::close(STDIN_FILENO);
              ::close(STDERR_FILENO);
              open_missing_standard_streams();
              const bool open = ::fcntl(STDIN_FILENO, F_GETFD) == 0 && ::fcntl(STDERR_FILENO, F_GETFD) == 0;
              return open && ::open("/dev/null", O_RDONLY) > STDERR_FILENO ? 0 : 1;
            }),
            0);
}

TEST(ForbidCoreDumps, HoldsForTheProcess) {
  EXPECT_EQ(in_a_child([] {
              forbid_core_dumps();
              return ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
            }),
            0);
}

}  // namespace
}  // namespace culvert::daemon
