#include "io/route_probe.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "io/udp_message.h"

namespace culvert::io {
namespace {

// The connection goes again, for a connected socket keeps the source that it has. With it goes the port.
void disconnect(int fd) {
  SocketAddress nobody{};
  nobody.any.sa_family = AF_UNSPEC;
  (void)::connect(fd, &nobody.any, sizeof nobody.any);
}

uint32_t path_mtu(int fd, Family family) {
  int mtu = 0;
  socklen_t length = sizeof mtu;
  const int got = family == Family::v4 ? ::getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length)
                                       : ::getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length);
  return got == 0 && mtu > 0 ? static_cast<uint32_t>(mtu) : 0;
}

}  // namespace

RouteChoice RouteProbe::ask(const Endpoint& remote, uint32_t fwmark) {
  SocketAddress address{};
  socklen_t length = to_socket_address(remote.remote, remote.port, remote.scope_id, address);
  if (length == 0) return {};
  const Family family = remote.remote.family;
  Scratch& scratch = family == Family::v4 ? v4_ : v6_;
  if (!scratch.fd) {
    scratch.fd.reset(::socket(family == Family::v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP));
    scratch.fwmark = 0;
  }
  if (!scratch.fd) return {};
  const int fd = scratch.fd.get();
  if (scratch.fwmark != fwmark) {
    if (::setsockopt(fd, SOL_SOCKET, SO_MARK, &fwmark, sizeof fwmark) != 0) return {};
    scratch.fwmark = fwmark;
  }
  RouteChoice choice;
  if (::connect(fd, &address.any, length) == 0) {
    choice.mtu_bytes = path_mtu(fd, family);
    if (::getsockname(fd, &address.any, &length) == 0) choice.source = address_of(address);
  }
  disconnect(fd);
  return choice;
}

}  // namespace culvert::io
