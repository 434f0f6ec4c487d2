// Prometheus metrics over HTTP: GET /metrics. Off unless CULVERT_METRICS names an address.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::daemon {

// Thread safety: `render` is called on the server's threads, so it must be safe against the rest of the
// daemon.
class MetricsServer {
 public:
  // Listens on `at.remote` and `at.port` (0: any free one) in the caller's network namespace, with one
  // listener thread and two workers. `render` yields the Prometheus text exposition format.
  static io::Result<std::unique_ptr<MetricsServer>> start(const io::Endpoint& at, std::function<std::string()> render);
  // Stops and joins.
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  uint16_t port() const;

 private:
  struct Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::daemon
