#include "src/daemon/daemonize.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>

#include "io/fd.h"

namespace culvert::daemon {
namespace {

struct Observed {
  int exit_code = -1;
  std::string output;  // of parent and child
};

// Runs a program that daemonizes: `child` is what its daemon does before it ends.
Observed run_daemon(const std::function<void(Readiness&)>& child) {
  int fds[2];
  EXPECT_EQ(::pipe(fds), 0);
  const pid_t program = ::fork();
  if (program == 0) {
    ::dup2(fds[1], STDOUT_FILENO);
    ::close(fds[0]);
    ::close(fds[1]);
    io::Result<Daemonized> daemonized = daemonize({});
    if (!daemonized) ::_exit(99);
    if (daemonized->in_child) {
      child(daemonized->readiness);
      ::_exit(0);
    }
    dprintf(STDOUT_FILENO, "parent:%s", daemonized->error.c_str());
    ::_exit(daemonized->exit_code);
  }
  ::close(fds[1]);
  Observed observed;
  char buffer[4096];
  for (ssize_t count = 0; (count = ::read(fds[0], buffer, sizeof buffer)) > 0;)
    observed.output.append(buffer, static_cast<size_t>(count));
  ::close(fds[0]);
  int status = 0;
  ::waitpid(program, &status, 0);
  observed.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return observed;
}

TEST(Daemonize, TheParentReturnsZeroOnceTheChildIsReady) {
  const Observed observed = run_daemon([](Readiness& readiness) {
    dprintf(STDOUT_FILENO, "set up;");
    readiness.report_ready(false);
  });
  EXPECT_EQ(observed.exit_code, 0);
  EXPECT_EQ(observed.output, "set up;parent:");
}

TEST(Daemonize, TheParentPrintsTheErrorAndTakesTheExitCode) {
  const Observed observed =
      run_daemon([](Readiness& readiness) { readiness.report_failure("no /dev/net/tun; load the module", 7); });
  EXPECT_EQ(observed.exit_code, 7);
  EXPECT_EQ(observed.output, "parent:no /dev/net/tun; load the module");
}

TEST(Daemonize, TheParentFailsWhenTheChildEndsWithoutAWord) {
  const Observed observed = run_daemon([](Readiness&) { ::_exit(0); });
  EXPECT_EQ(observed.exit_code, 1);
  EXPECT_EQ(observed.output,
            "parent:the daemon ended before the interface was ready; start it with --foreground and "
            "LOG_LEVEL=verbose to see why");
}

TEST(Daemonize, TheParentNamesTheSignalThatKilledTheChild) {
  const Observed observed = run_daemon([](Readiness&) { ::kill(::getpid(), SIGKILL); });
  EXPECT_EQ(observed.exit_code, 1);
  EXPECT_NE(observed.output.find("killed by signal 9"), std::string::npos) << observed.output;
}

TEST(Daemonize, TheDaemonIsSilentOnceReadyUnlessToldOtherwise) {
  for (const bool keep_output : {false, true}) {
    const Observed observed = run_daemon([keep_output](Readiness& readiness) {
      readiness.report_ready(keep_output);
      dprintf(STDOUT_FILENO, "later;");
    });
    EXPECT_EQ(observed.output.find("later;") != std::string::npos, keep_output) << observed.output;
  }
}

TEST(Daemonize, TheDaemonLeavesTerminalDirectoryAndStdin) {
  const Observed observed = run_daemon([](Readiness& readiness) {
    readiness.report_ready(true);
    char directory[256] = "";
    char byte = 0;
    dprintf(STDOUT_FILENO, "[leader %d, in %s, stdin %d]", ::getsid(0) == ::getpid(),
            ::getcwd(directory, sizeof directory), static_cast<int>(::read(STDIN_FILENO, &byte, 1)));
  });
  EXPECT_NE(observed.output.find("[leader 1, in /, stdin 0]"), std::string::npos) << observed.output;
}

TEST(Daemonize, TheDaemonKeepsNoDescriptorThatItInherited) {
  int inherited[2];
  ASSERT_EQ(::pipe(inherited), 0);
  const io::Fd reader(inherited[0]);
  io::Fd writer(inherited[1]);
  const Observed observed = run_daemon([&](Readiness& readiness) {
    readiness.report_ready(true);
    dprintf(STDOUT_FILENO, "[%d %d]", ::fcntl(inherited[0], F_GETFD), ::fcntl(inherited[1], F_GETFD));
  });
  EXPECT_NE(observed.output.find("[-1 -1]"), std::string::npos) << observed.output;
}

TEST(Daemonize, InTheForegroundNothingIsReported) {
  Readiness readiness;
  readiness.report_ready(false);
  readiness.report_failure("nobody hears this", 1);
}

}  // namespace
}  // namespace culvert::daemon
