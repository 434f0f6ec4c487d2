#include "src/host/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <sstream>
#include <string_view>

namespace culvert::host {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;

// The last line. Should a process be killed while it writes a shorter text over a longer one, what is behind it is old.
constexpr const char* kEnd = "end";

// Of dead processes in other namespaces so many are remembered: namespaces come and go.
constexpr size_t kMostElsewhere = 16;

constexpr std::string_view kNamespacePrefix = "netns ";

// The first line of a section: which network namespace it is about. Inode numbers are used again, cookies (Linux 5.14)
// are not.
std::string namespace_line() {
  const io::Fd any(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0)
    return std::string(kNamespacePrefix) + "cookie " + std::to_string(cookie);
  struct stat self {};
  if (::stat("/proc/self/ns/net", &self) != 0) return std::string(kNamespacePrefix) + "unknown";
  return std::string(kNamespacePrefix) + std::to_string(self.st_ino);
}

std::string read_all(int fd) {
  std::string text(kMostBytes, '\0');
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

// Of the process that has the file: its section is the first.
bool is_elsewhere(int fd) {
  const std::string text = read_all(fd);
  return text.starts_with(kNamespacePrefix) && text.substr(0, text.find('\n')) != namespace_line();
}

}  // namespace

io::Result<Journal> Journal::open(const std::string& interface_name, const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    return io::Error{errno, "create the directory " + directory};
  const std::string path = directory + "/" + interface_name + ".journal";
  for (;;) {
    io::Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return io::Error{errno, "open " + path};
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (!is_elsewhere(file.get())) return io::Error{EBUSY, interface_name + " is served by another culvert"};
      return io::Error{EXDEV, interface_name + " is served by a culvert in another network namespace"};
    }
    struct stat held {
    }, named{};
    // Whoever had it before may have removed it while we waited for nothing.
    if (::fstat(file.get(), &held) != 0 || ::stat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino) continue;
    Journal journal(std::move(file), path);
    journal.read();
    return journal;
  }
}

void Journal::read() {
  const std::string here = namespace_line();
  std::istringstream text(read_all(file_.get()));
  bool is_here = false;
  for (std::string line; std::getline(text, line) && line != kEnd;)
    if (line.starts_with(kNamespacePrefix)) {
      is_here = line == here;
      if (!is_here) elsewhere_.push_back(line + "\n");
    } else if (is_here) {
      lines_.push_back(line);
    } else if (!elsewhere_.empty()) {
      elsewhere_.back() += line + "\n";
    }
  if (elsewhere_.size() > kMostElsewhere) elsewhere_.resize(kMostElsewhere);
}

io::Status Journal::write(std::vector<std::string> lines) {
  std::string text = namespace_line() + "\n";
  for (const std::string& line : lines) text += line + "\n";
  lines_ = std::move(lines);
  return write_text(text);
}

io::Status Journal::write_text(const std::string& own) {
  std::string text = own;
  for (const std::string& section : elsewhere_) text += section;
  text.append(kEnd) += '\n';
  if (::posix_fallocate(file_.get(), 0, static_cast<off_t>(text.size())) != 0)
    return io::Error{ENOSPC, "write " + path_};  // before anything of the old text is gone
  if (::pwrite(file_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::ftruncate(file_.get(), static_cast<off_t>(text.size())) != 0)
    return io::Error{errno, "write " + path_};
  return io::Success{};
}

void Journal::remove() {
  if (elsewhere_.empty() || !write_text("")) ::unlink(path_.c_str());
}

}  // namespace culvert::host
