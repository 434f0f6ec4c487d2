// Says when routes, rules, addresses or links of our network namespace changed, so that sticky source
// addresses can be checked again.
#pragma once

#include <memory>

#include "io/result.h"

namespace culvert::daemon {

// Thread safety: none; owned by the control thread. Sees the namespace that open() was called in.
class RouteMonitor {
 public:
  static io::Result<RouteMonitor> open();
  ~RouteMonitor();
  RouteMonitor(RouteMonitor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  RouteMonitor& operator=(RouteMonitor&&) = delete;

  // Readable (level-triggered) while there is something to read.
  int fd() const { return fd_; }

  // Reads all that waits, a storm of changes included, and says whether anything did. Never waits.
  bool read_changes();

 private:
  explicit RouteMonitor(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace culvert::daemon
