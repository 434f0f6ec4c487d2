// What a service manager is told of us: the protocol of sd_notify(3), without its library.
#pragma once

#include <string_view>

#include "io/result.h"

namespace culvert::daemon {

// Sends `state`, such as "READY=1", to the socket that $NOTIFY_SOCKET names; success without one. The datagram comes
// from the calling process, which is how the manager knows it. Never waits for long: the manager's queue is bounded,
// and it reads. Error: the name is neither a path nor an abstract name, or the socket does not take it.
io::Status notify_service_manager(const char* notify_socket, std::string_view state);

}  // namespace culvert::daemon
