#include "src/host/command.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

namespace culvert::host {
namespace {

constexpr const char* kBash = "/bin/bash";
constexpr int kMostGenerations = 64;
constexpr const char* kUsualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// A file in memory with the text, to be read from its start; empty if there is no memory.
io::Fd make_input(const std::string& text) {
  io::Fd fd(::memfd_create("input", MFD_CLOEXEC));
  size_t written = 0;
  while (fd && written < text.size()) {
    const ssize_t count = ::write(fd.get(), text.data() + written, text.size() - written);
    if (count <= 0) return io::Fd();
    written += static_cast<size_t>(count);
  }
  if (fd) ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

// Signals that we block or ignore are the program's as the kernel gives them.
class SpawnSettings {
 public:
  explicit SpawnSettings(int input) {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawn_file_actions_adddup2(&actions_, input, STDIN_FILENO);
  }
  ~SpawnSettings() {
    ::posix_spawnattr_destroy(&attributes_);
    ::posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  const posix_spawnattr_t* attributes() const { return &attributes_; }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

// The parent of a process, by the fourth field of its line in /proc; 0: unknown. The second one is a name in brackets,
// in which anything may stand.
pid_t parent_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  const std::string line{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  constexpr size_t kStateBytes = std::string_view(") S ").size();
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos || line.size() < name_end + kStateBytes) return 0;
  std::istringstream fields(line.substr(name_end + kStateBytes));
  pid_t parent = 0;
  fields >> parent;
  return parent;
}

}  // namespace

Command hook_command(const std::string& line) {
  if (::access(kBash, X_OK) == 0)
    return {{kBash, "-e", "-o", "pipefail", "-O", "extglob", "-c", line}, "", "`" + line + "`", true};
  return {{"/bin/sh", "-e", "-c", line}, "", "`" + line + "`", true};
}

bool has_program(const std::string& name) {
  const char* const set = std::getenv("PATH");
  const std::string path = set != nullptr ? set : kUsualPath;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    if (::access((path.substr(at, end - at) + "/" + name).c_str(), X_OK) == 0) return true;
    at = end + 1;
  }
  return false;
}

io::Result<RunningCommand> RunningCommand::start(const Command& command) {
  const std::string& name = command.words.front();
  const io::Fd input = make_input(command.input);
  if (!input) return io::Error{errno, "run " + name};
  std::vector<char*> words;
  for (const std::string& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  if (std::getenv("PATH") == nullptr) ::setenv("PATH", kUsualPath, 1);  // there is one thread that reads it
  const SpawnSettings settings(input.get());
  pid_t process = -1;
  const int number =
      ::posix_spawnp(&process, words.front(), settings.actions(), settings.attributes(), words.data(), environ);
  if (number != 0) return io::Error{number, "run " + name};
  io::Fd ended(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!ended) {
    const int why = errno;
    ::waitpid(process, nullptr, 0);
    return io::Error{why, "wait for " + name};
  }
  return RunningCommand(command.title.empty() ? name : command.title, process, std::move(ended));
}

bool RunningCommand::started(pid_t process) const {
  for (int i = 0; i < kMostGenerations && process > 1; ++i) {
    if (process == process_) return true;
    process = parent_of(process);
  }
  return false;
}

void RunningCommand::end() const {
  ::kill(process_, SIGTERM);
}

io::Status RunningCommand::finish() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return io::Error{0, name_ + " was killed by signal " + std::to_string(WTERMSIG(status))};
  if (const int code = WEXITSTATUS(status); code != 0)
    return io::Error{0, name_ + " ended with status " + std::to_string(code)};
  return io::Success{};
}

}  // namespace culvert::host
