// What the environment sets: wireguard-go's variables and culvert's switches.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/endpoint.h"
#include "io/engine.h"
#include "io/listen_wide.h"
#include "io/result.h"
#include "io/source_ports.h"
#include "src/daemon/metrics_server.h"
#include "src/device/worker_request.h"
#include "src/log.h"

namespace culvert::daemon {

struct Environment {
  LogLevel log_level = LogLevel::error;           // LOG_LEVEL
  bool keep_output = false;                       // LOG_LEVEL is set and not silent: a daemon keeps stdout and stderr
  std::optional<int> tun_fd;                      // WG_TUN_FD
  std::optional<int> uapi_fd;                     // WG_UAPI_FD
  bool foreground = false;                        // WG_PROCESS_FOREGROUND=1
  bool gso = true;                                // CULVERT_GSO: UDP_SEGMENT on the outer sockets
  bool gro = true;                                // CULVERT_GRO: UDP_GRO on the outer sockets
  bool tun_offload = true;                        // CULVERT_TUN_OFFLOAD: IFF_VNET_HDR and with it TSO, USO, checksums
  bool tun_tso = true;                            // CULVERT_TUN_TSO: TSO alone
  bool tun_uso = true;                            // CULVERT_TUN_USO: USO alone
  bool tun_join = true;                           // CULVERT_TUN_JOIN: join received packets before they are written
  bool short_queues = true;                       // CULVERT_SHORT_QUEUES: sparse flows first, and no standing queue
  io::Engine tun_engine = io::Engine::automatic;  // CULVERT_TUN_ENGINE: auto, epoll or io_uring
  io::Engine udp_engine = io::Engine::automatic;  // CULVERT_UDP_ENGINE: likewise
  io::SourcePorts source_ports;                   // CULVERT_SOURCE_PORTS: N or LO-HI
  std::optional<io::WideRange> listen;            // CULVERT_LISTEN: ports and prefixes beside the listen port
  // CULVERT_METRICS=PORT (of 127.0.0.1), ADDR:PORT or unix:PATH; CULVERT_METRICS_PEERS
  std::optional<MetricsAddress> metrics;
  std::string aead;                              // CULVERT_AEAD, passed on as it is; "" when unset
  std::optional<device::WorkerRequest> workers;  // CULVERT_WORKERS: auto, a number or a list of CPUs

  // What deserves a line in the log although it is no error (LOG_LEVEL with a word nobody knows).
  std::vector<std::string> warnings;
};

// Yields the value of a variable, or nullptr; std::getenv in the daemon.
using GetVariable = std::function<const char*(const char* name)>;

// Empty variables count as unset. An error names the variable, its value and the values that it may have; the
// daemon then exits with kExitUsage.
io::Result<Environment> parse_environment(const GetVariable& get_variable);

}  // namespace culvert::daemon
