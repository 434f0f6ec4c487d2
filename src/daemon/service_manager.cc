#include "src/daemon/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "io/fd.h"

namespace culvert::daemon {

io::Status notify_service_manager(const char* notify_socket, std::string_view state) {
  const std::string_view name = notify_socket == nullptr ? "" : notify_socket;
  if (name.empty()) return io::Success{};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((name.front() != '/' && name.front() != '@') || name.size() >= sizeof address.sun_path)
    return io::Error{EINVAL, "tell the service manager: NOTIFY_SOCKET names no socket"};
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name.front() == '@') address.sun_path[0] = 0;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());

  const io::Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return io::Error{errno, "tell the service manager: socket"};
  if (::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
               length) < 0)
    return io::Error{errno, "tell the service manager"};
  return io::Success{};
}

}  // namespace culvert::daemon
