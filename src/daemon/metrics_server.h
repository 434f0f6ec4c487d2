// Metrics over HTTP for Prometheus (/metrics) and for whoever asks whether we live (/healthz). Off unless
// CULVERT_METRICS names an address.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "io/endpoint.h"
#include "io/result.h"
#include "src/protocol/time.h"

namespace culvert::daemon {

// Where, and how much of it.
struct MetricsAddress {
  io::Endpoint endpoint{};  // `remote` and `port`; used without a path
  std::string path{};       // of a socket of the file system, for its owner alone; "": none
  bool each_peer = true;    // with the metrics of every peer

  // Whether other hosts may reach it.
  bool is_exposed() const;
  // As CULVERT_METRICS has it.
  std::string text() const;
};

// A text in pieces: each call makes the next, and "" is the end.
using Pieces = std::function<std::string()>;

// What is served. All of it is called within handle_events().
struct Pages {
  std::function<Pieces()> metrics;      // the Prometheus text exposition format
  std::function<std::string()> health;  // plain text
};

// An HTTP server for anybody who can reach its port: libmicrohttpd, without a thread of its own. One descriptor to poll
// stands for the listener, the connections and their deadlines.
//
// GET and HEAD alone; a request with a body is refused at its header. Bounds: kMaxConnections (a new one evicts the one
// whose last request is longest ago), kMaxConnectionsPerAddress (more are closed at once), kMemoryPerConnection and
// kMaxRequestTime. One handle_events() accepts kAcceptsAtOnce connections and does one step of each, for which it makes
// at most two pieces of a page.
//
// Thread safety: none; owned by the control thread.
class MetricsServer {
 public:
  static constexpr size_t kMaxConnections = 16;
  static constexpr unsigned kMaxConnectionsPerAddress = 8;
  static constexpr size_t kMemoryPerConnection = 32768;  // request, header of the response, and what goes out next
  static constexpr int kAcceptsAtOnce = 16;
  // From one request to the end of the next, or to the end of a response. No usual scrape interval: a connection that
  // is kept does not end just as the next scrape begins.
  static constexpr std::chrono::seconds kMaxRequestTime{12};
  // How long nobody is accepted once descriptors have run out.
  static constexpr std::chrono::seconds kPause{1};

  // Listens on the endpoint (port 0: any free one) in the caller's network namespace, or on the path, where a socket
  // that nobody serves any more makes way. Errors: EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE and so on.
  static io::Result<std::unique_ptr<MetricsServer>> open(const MetricsAddress& at, Pages pages);

  // Closes everything at once, whatever clients do.
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // Host byte order; 0 on a path. Constant.
  uint16_t port() const;

  // An epoll instance: readable (level-triggered) while there is something to do. Constant.
  int fd() const;

  // Does what can be done now; never waits. `now` is CLOCK_BOOTTIME's.
  void handle_events(protocol::Instant now);

  size_t connections() const;

 private:
  class Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::daemon
