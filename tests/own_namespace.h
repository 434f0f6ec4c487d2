// Network namespaces, TUN devices and commands of a test's own; everything ends with the test program.
#pragma once

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "io/fd.h"

namespace culvert::test {

// Puts the whole test program into new namespaces, CLONE_NEWNET and perhaps CLONE_NEWNS; without root, into a user
// namespace as well. False where the system forbids that. Call it before threads start.
inline bool enter_own_namespaces(int flags) {
  if (::unshare(flags) == 0) return true;
  const uid_t uid = ::getuid();
  const gid_t gid = ::getgid();
  if (::unshare(flags | CLONE_NEWUSER) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
  return ::getuid() == 0;
}

// A process that does nothing in a network namespace of its own, which ends with it.
class OtherNamespace {
 public:
  OtherNamespace() {
    int fds[2];
    if (::pipe(fds) != 0) return;
    process_ = ::fork();
    if (process_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const char ready = ::unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
      if (::write(fds[1], &ready, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char ready = 'n';
    ready_ = ::read(fds[0], &ready, 1) == 1 && ready == 'y';
    ::close(fds[0]);
    ::close(fds[1]);
  }
  ~OtherNamespace() { end(); }
  OtherNamespace(const OtherNamespace&) = delete;
  OtherNamespace& operator=(const OtherNamespace&) = delete;

  bool ready() const { return ready_; }
  pid_t process() const { return process_; }
  // Prefix of a shell command that is to run in it.
  std::string enter() const { return "nsenter --net=/proc/" + std::to_string(process_) + "/ns/net "; }
  void end() {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
      process_ = -1;
    }
  }

 private:
  pid_t process_ = -1;
  bool ready_ = false;
};

// A TUN device in the current namespace; empty on failure.
inline io::Fd make_tun(const std::string& name, int flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR) {
  io::Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  if (!fd || ::ioctl(fd.get(), TUNSETIFF, &request) != 0) return io::Fd();
  return fd;
}

// The exit code of a shell command.
inline int run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The standard output of a shell command.
inline std::string output_of(const std::string& command) {
  std::string out;
  FILE* stream = ::popen(command.c_str(), "r");
  char buffer[4096];
  for (size_t count = 0; stream != nullptr && (count = std::fread(buffer, 1, sizeof buffer, stream)) > 0;)
    out.append(buffer, count);
  if (stream != nullptr) ::pclose(stream);
  return out;
}

// Whether the descriptor becomes readable in time.
inline bool wait_readable(int fd, std::chrono::milliseconds timeout) {
  pollfd waiting{fd, POLLIN, 0};
  return ::poll(&waiting, 1, static_cast<int>(timeout.count())) == 1;
}

}  // namespace culvert::test
