// The far end of `rr` and `crr`.
#pragma once

#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::traffic {

// `echo`: a TCP server that sends back what it gets, on any number of connections. Prints "ready"; ends at SIGTERM or
// SIGINT.
io::Status run_echo(const io::Endpoint& bind);

}  // namespace culvert::traffic
