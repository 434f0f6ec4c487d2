// The UAPI socket's file: /var/run/wireguard/IFNAME.sock.
#pragma once

#include <string>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::uapi {

inline constexpr const char* kUapiDirectory = "/var/run/wireguard";

// Creates `directory` (0755) where it is missing and puts a listening IFNAME.sock into it, made under umask 077. When
// a socket is there already: alive is an error (EADDRINUSE), dead is replaced; a file of another kind is an error
// (EEXIST). The file appears only once connections are accepted. Yields a listening, non-blocking, close-on-exec
// descriptor. Changes the umask for a moment: call it before threads start.
io::Result<io::Fd> open_uapi_socket(const std::string& interface_name, const std::string& directory = kUapiDirectory);

// Where open_uapi_socket() puts the file.
std::string uapi_socket_file(const std::string& interface_name, const std::string& directory = kUapiDirectory);

// The absolute path that a listening socket was bound to; "" if it has none (not AF_UNIX, unnamed, abstract).
std::string uapi_socket_path(int listen_fd);

}  // namespace culvert::uapi
