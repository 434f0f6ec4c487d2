// Going into the background such that whoever started us returns only when the interface can be used.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <string_view>

#include "io/result.h"

namespace culvert::daemon {

// The child's end of the pipe on which the parent waits. Dropped without a word, it makes the parent fail.
class Readiness {
 public:
  Readiness() = default;  // reports to nobody: the foreground case
  explicit Readiness(int pipe_fd) : pipe_fd_(pipe_fd) {}
  Readiness(Readiness&& other) noexcept : pipe_fd_(other.pipe_fd_) { other.pipe_fd_ = -1; }
  Readiness& operator=(Readiness&& other) noexcept;
  ~Readiness();

  bool in_background() const { return pipe_fd_ >= 0; }

  // The TUN device and the UAPI socket exist. Leaves the caller's directory, points stdin, and unless
  // `keep_output` stdout and stderr, to /dev/null, then lets the parent return 0. Nothing in the foreground.
  void report_ready(bool keep_output);
  // Likewise, but the parent prints `text` and exits with `exit_code`: this process goes on with what did succeed.
  void report_ready_but(bool keep_output, std::string_view text, int exit_code);

  // The parent prints `text` and exits with `exit_code`.
  void report_failure(std::string_view text, int exit_code);

 private:
  int pipe_fd_ = -1;
};

struct Daemonized {
  bool in_child = false;
  Readiness readiness;  // in the child
  int exit_code = 0;    // in the parent: what to exit with
  std::string error;    // in the parent: what to print first, "" if all is well
};

// Forks; the child leads a new process group without a terminal and goes on with the set-up, the parent
// returns once the child reported or died. The child keeps stdin, stdout, stderr and `kept`, and closes every other
// descriptor: what it inherited, such as the lock of flock(1), would stay held for as long as it lives. Call it while
// there is one thread, before anything is opened that the parent would close or unlink on exit.
io::Result<Daemonized> daemonize(std::span<const int> kept);

}  // namespace culvert::daemon
