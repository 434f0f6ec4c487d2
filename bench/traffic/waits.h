// Where packets wait on their way through a tunnel: sparse probes, timed by the kernel wherever they pass.
#pragma once

#include <cstdint>
#include <string>

#include "bench/traffic/probe_log.h"
#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::traffic {

struct WaitsOptions {
  io::Endpoint to;            // an address of the far end, inside the tunnel
  std::string far_namespace;  // the far end's network namespace, a file
  // The devices of both ends. Those outside see probes only if the tunnel copies ECN out (RFC 6040): they are ECT(1).
  std::string near_inner, near_outer, far_inner, far_outer;
  io::Family outer_family = io::Family::v4;
  double rate = 500;  // probes per second
  double seconds = 1;
};

// `waits`. All clocks are this machine's, so both ends have to be on it. Errors: EPERM (CAP_NET_RAW, CAP_SYS_ADMIN for
// the namespace), no such device or namespace.
io::Result<ProbeLog> measure_waits(const WaitsOptions& options);

}  // namespace culvert::traffic
