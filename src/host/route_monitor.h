// Says when routes, rules, addresses or links of our network namespace changed, so that sticky source
// addresses can be checked again.
#pragma once

#include <span>
#include <utility>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::host {

// Thread safety: none; owned by the control thread. Sees the namespace that open() was called in.
class RouteMonitor {
 public:
  static io::Result<RouteMonitor> open();
  // Says so of neighbours as well: of all that a LinkView holds (link_view.h), of whatever interface.
  static io::Result<RouteMonitor> open_with_neighbours();

  // Readable (level-triggered) while there is something to read.
  int fd() const { return fd_.get(); }

  // Reads all that waits, a storm of changes included, and says whether anything did. Never waits.
  bool read_changes();

 private:
  static io::Result<RouteMonitor> open(std::span<const int> groups);
  explicit RouteMonitor(io::Fd fd) : fd_(std::move(fd)) {}

  io::Fd fd_;
};

}  // namespace culvert::host
