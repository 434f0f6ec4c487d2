#include "src/uapi/socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace culvert::uapi {
namespace {

constexpr int kBacklog = 128;

// Sets the umask for as long as it lives.
class UmaskScope {
 public:
  explicit UmaskScope(mode_t mask) : previous_(::umask(mask)) {}
  ~UmaskScope() { ::umask(previous_); }
  UmaskScope(const UmaskScope&) = delete;
  UmaskScope& operator=(const UmaskScope&) = delete;

 private:
  mode_t previous_;
};

io::Result<sockaddr_un> make_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return io::Error{ENAMETOOLONG, "UAPI socket " + path};
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Whether somebody listens on the socket file; a full backlog (EAGAIN) is somebody too.
bool is_alive(const sockaddr_un& address) {
  const io::Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return client && (::connect(client.get(), generic(address), sizeof address) == 0 || errno == EAGAIN);
}

// Whether `path` may be taken over: nothing is there, or the socket of a dead daemon.
io::Status check_free(const std::string& path, const sockaddr_un& address) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return io::Success{};
  if (!S_ISSOCK(file.st_mode))
    return io::Error{EEXIST, "UAPI socket " + path + ": something else has that name; remove it"};
  if (is_alive(address)) {
    return io::Error{EADDRINUSE,
                     "UAPI socket " + path + ": another daemon serves this interface; stop it or choose another name"};
  }
  return io::Success{};
}

// A socket that listens on `path`, which must not exist.
io::Result<io::Fd> listen_on(const std::string& path) {
  const io::Result<sockaddr_un> address = make_address(path);
  if (!address) return address.error();
  io::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return io::Error{errno, "UAPI socket"};
  const UmaskScope scope(077);
  if (::bind(fd.get(), generic(*address), sizeof *address) != 0)
    return io::Error{errno, "bind the UAPI socket " + path};
  if (::listen(fd.get(), kBacklog) != 0) return io::Error{errno, "listen on the UAPI socket " + path};
  return fd;
}

}  // namespace

io::Result<io::Fd> open_uapi_socket(const std::string& interface_name, const std::string& directory) {
  {
    const UmaskScope scope(022);
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) return io::Error{error.value(), "create the UAPI directory " + directory};
  }
  const std::string path = uapi_socket_file(interface_name, directory);
  const io::Result<sockaddr_un> address = make_address(path);
  if (!address) return address.error();
  if (const io::Status status = check_free(path, *address); !status) return status.error();

  // Between bind and listen a socket refuses, and wg(8) removes a socket that refuses: it gets its name only when
  // it listens. The rename also replaces a dead one.
  const std::string unfinished = directory + "/." + interface_name + "." + std::to_string(::getpid());
  ::unlink(unfinished.c_str());
  io::Result<io::Fd> fd = listen_on(unfinished);
  if (fd && ::rename(unfinished.c_str(), path.c_str()) != 0) fd = io::Error{errno, "name the UAPI socket " + path};
  if (!fd) ::unlink(unfinished.c_str());
  return fd;
}

std::string uapi_socket_file(const std::string& interface_name, const std::string& directory) {
  return directory + "/" + interface_name + ".sock";
}

std::string uapi_socket_path(int listen_fd) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (::getsockname(listen_fd, reinterpret_cast<sockaddr*>(&address), &length) != 0 || address.sun_family != AF_UNIX ||
      length <= offsetof(sockaddr_un, sun_path))
    return "";
  const std::string path(address.sun_path, ::strnlen(address.sun_path, length - offsetof(sockaddr_un, sun_path)));
  return path.empty() ? "" : std::filesystem::absolute(path).string();
}

}  // namespace culvert::uapi
