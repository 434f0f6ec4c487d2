// Sockets of the traffic programs, with errors that say what to do.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"

namespace culvert::traffic {

// "10.0.0.1", "fd00::1" or "fe80::1%wg0" as a remote endpoint. Nothing if it is none.
std::optional<io::Endpoint> parse_address(const std::string& address, uint16_t port);

// A socket of this type (SOCK_DGRAM, SOCK_STREAM, perhaps with SOCK_NONBLOCK) for the family of `endpoint`.
io::Result<io::Fd> open_socket(const io::Endpoint& endpoint, int type);

// Bound to `endpoint` or connected to it. connect waits, for SOCK_STREAM, at most until the send timeout.
io::Result<io::Fd> open_bound(const io::Endpoint& endpoint, int type);
io::Status connect_to(int fd, const io::Endpoint& endpoint);

// Sets an int option.
io::Status set_option(int fd, int level, int name, int value, const char* what);

// Sets the receive buffer beyond net.core.rmem_max where that is allowed (CAP_NET_ADMIN), else up to it.
void set_receive_buffer(int fd, int bytes);

// How long receives, sends and connects wait.
io::Status set_timeouts(int fd, int seconds);

}  // namespace culvert::traffic
