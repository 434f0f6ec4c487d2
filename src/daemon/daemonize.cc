#include "src/daemon/daemonize.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "src/daemon/process.h"

namespace culvert::daemon {
namespace {

constexpr int kExitUnexpected = 1;

// The report in the pipe: the exit code in one byte, then the text. Nothing at all: the child died.
void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // the parent is gone, and nobody is left to tell
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

std::string read_all(int fd) {
  std::string out;
  char buffer[512];
  for (;;) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return out;
    out.append(buffer, static_cast<size_t>(count));
  }
}

void point_to_null(int fd) {
  const int null_fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_fd >= 0) {
    ::dup2(null_fd, fd);  // of two equal numbers dup2() does nothing
    if (null_fd > STDERR_FILENO) ::close(null_fd);
  }
}

Daemonized wait_for_report(pid_t child, int pipe_fd) {
  Daemonized outcome;
  const std::string report = read_all(pipe_fd);
  if (!report.empty()) {
    outcome.exit_code = static_cast<unsigned char>(report.front());
    outcome.error = report.substr(1);
    return outcome;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.exit_code = kExitUnexpected;
  outcome.error = "the daemon ended before the interface was ready";
  if (WIFSIGNALED(status)) outcome.error += ", killed by signal " + std::to_string(WTERMSIG(status));
  outcome.error += "; start it with --foreground and LOG_LEVEL=verbose to see why";
  return outcome;
}

}  // namespace

Readiness& Readiness::operator=(Readiness&& other) noexcept {
  std::swap(pipe_fd_, other.pipe_fd_);
  return *this;
}

Readiness::~Readiness() {
  if (pipe_fd_ >= 0) ::close(pipe_fd_);
}

void Readiness::report_ready(bool keep_output) {
  report_ready_but(keep_output, "", 0);
}

void Readiness::report_ready_but(bool keep_output, std::string_view text, int exit_code) {
  if (pipe_fd_ < 0) return;
  // A daemon keeps no file system busy. The root directory is always there.
  if (::chdir("/") != 0) return;
  point_to_null(STDIN_FILENO);
  if (!keep_output) {
    point_to_null(STDOUT_FILENO);
    point_to_null(STDERR_FILENO);
  }
  report_failure(text, exit_code);
}

void Readiness::report_failure(std::string_view text, int exit_code) {
  if (pipe_fd_ < 0) return;
  std::string report(1, static_cast<char>(exit_code));
  report += text;
  write_all(pipe_fd_, report);
  ::close(pipe_fd_);
  pipe_fd_ = -1;
}

io::Result<Daemonized> daemonize(std::span<const int> kept) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return io::Error{errno, "daemonize: pipe"};
  const pid_t child = ::fork();
  if (child < 0) {
    const int number = errno;
    ::close(pipe_fds[0]);
    ::close(pipe_fds[1]);
    return io::Error{number, "daemonize: fork"};
  }
  if (child > 0) {
    ::close(pipe_fds[1]);
    Daemonized outcome = wait_for_report(child, pipe_fds[0]);
    ::close(pipe_fds[0]);
    return outcome;
  }
  std::vector<int> wanted(kept.begin(), kept.end());
  wanted.push_back(pipe_fds[1]);
  close_all_but(wanted, ::close_range);
  ::setsid();
  Daemonized outcome;
  outcome.in_child = true;
  outcome.readiness = Readiness(pipe_fds[1]);
  return outcome;
}

}  // namespace culvert::daemon
