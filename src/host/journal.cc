#include "src/host/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

namespace culvert::host {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;

// The last line. Should a process be killed while it writes a shorter text over a longer one, what is behind it is old.
constexpr const char* kEnd = "end";

// The first line of a journal: which network namespace it is about.
std::string namespace_line() {
  struct stat self {};
  if (::stat("/proc/self/ns/net", &self) != 0) return "netns unknown";
  return "netns " + std::to_string(self.st_ino);
}

std::string read_all(int fd) {
  std::string text(kMostBytes, '\0');
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

}  // namespace

io::Result<Journal> Journal::open(const std::string& interface_name, const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    return io::Error{errno, "create the directory " + directory};
  const std::string path = directory + "/" + interface_name + ".journal";
  for (;;) {
    io::Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return io::Error{errno, "open " + path};
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
      return io::Error{EBUSY, interface_name + " is served by another culvert"};
    struct stat held {
    }, named{};
    // Whoever had it before may have removed it while we waited for nothing.
    if (::fstat(file.get(), &held) != 0 || ::stat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino) continue;
    Journal journal(std::move(file), path);
    std::istringstream text(read_all(journal.file_.get()));
    std::string line;
    if (std::getline(text, line) && line == namespace_line())
      while (std::getline(text, line) && line != kEnd) journal.lines_.push_back(line);
    return journal;
  }
}

io::Status Journal::write(std::vector<std::string> lines) {
  std::string text = namespace_line() + "\n";
  for (const std::string& line : lines) text += line + "\n";
  text.append(kEnd) += '\n';
  lines_ = std::move(lines);
  if (::posix_fallocate(file_.get(), 0, static_cast<off_t>(text.size())) != 0)
    return io::Error{ENOSPC, "write " + path_};  // before anything of the old text is gone
  if (::pwrite(file_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::ftruncate(file_.get(), static_cast<off_t>(text.size())) != 0)
    return io::Error{errno, "write " + path_};
  return io::Success{};
}

void Journal::remove() {
  ::unlink(path_.c_str());
}

}  // namespace culvert::host
