#include "bench/traffic/sockets.h"

#include <sys/time.h>

#include <cerrno>

#include "io/udp_message.h"

namespace culvert::traffic {

std::optional<io::Endpoint> parse_address(const std::string& address, uint16_t port) {
  const bool v6 = address.find(':') != std::string::npos;
  io::Endpoint endpoint;
  if (!io::parse_endpoint((v6 ? '[' + address + ']' : address) + ':' + std::to_string(port), endpoint))
    return std::nullopt;
  return endpoint;
}

io::Result<io::Fd> open_socket(const io::Endpoint& endpoint, int type) {
  const int domain = endpoint.remote.family == io::Family::v6 ? AF_INET6 : AF_INET;
  io::Fd fd(::socket(domain, type | SOCK_CLOEXEC, 0));
  if (!fd) return io::Error{errno, "open a socket"};
  return fd;
}

io::Result<io::Fd> open_bound(const io::Endpoint& endpoint, int type) {
  auto fd = open_socket(endpoint, type);
  if (!fd) return fd;
  if ((type & SOCK_STREAM) != 0) {
    // A port whose last connections still linger is free for us.
    if (auto set = set_option(fd->get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"); !set) return set.error();
  }
  io::SocketAddress address{};
  const socklen_t length = io::to_socket_address(endpoint.remote, endpoint.port, endpoint.scope_id, address);
  if (::bind(fd->get(), &address.any, length) != 0) {
    const int error = errno;
    const char* advice = error == EADDRNOTAVAIL ? " (no address of this network namespace: see `ip address`)"
                         : error == EADDRINUSE  ? " (another program has it: choose another port)"
                                                : "";
    return io::Error{error, "bind " + io::to_string(endpoint) + advice};
  }
  return fd;
}

io::Status connect_to(int fd, const io::Endpoint& endpoint) {
  io::SocketAddress address{};
  const socklen_t length = io::to_socket_address(endpoint.remote, endpoint.port, endpoint.scope_id, address);
  if (::connect(fd, &address.any, length) == 0) return io::Success{};
  const int error = errno;
  const char* advice = error == ENETUNREACH    ? " (no route: is the interface up, and has it an address?)"
                       : error == ECONNREFUSED ? " (nothing listens there)"
                       : error == EINPROGRESS  ? " (no answer in time: does a ping get through?)"
                                               : "";
  return io::Error{error == EINPROGRESS ? ETIMEDOUT : error, "connect to " + io::to_string(endpoint) + advice};
}

io::Status set_option(int fd, int level, int name, int value, const char* what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) return io::Error{errno, std::string("set ") + what};
  return io::Success{};
}

void set_receive_buffer(int fd, int bytes) {
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

io::Status set_timeouts(int fd, int seconds) {
  const timeval time{seconds, 0};
  for (const int name : {SO_RCVTIMEO, SO_SNDTIMEO})
    if (::setsockopt(fd, SOL_SOCKET, name, &time, sizeof time) != 0)
      return io::Error{errno, "set the socket's timeouts"};
  return io::Success{};
}

}  // namespace culvert::traffic
