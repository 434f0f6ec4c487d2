#include "src/host/route_monitor.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "src/host/netlink.h"

namespace culvert::host {
namespace {

constexpr std::array<int, 8> kGroups = {RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                        RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
                                        RTNLGRP_IPV6_RULE,  RTNLGRP_NEIGH};
constexpr size_t kRouteGroups = 7;  // all but neighbours

}  // namespace

io::Result<RouteMonitor> RouteMonitor::open() {
  return open(std::span(kGroups).first(kRouteGroups));
}

io::Result<RouteMonitor> RouteMonitor::open_with_neighbours() {
  return open(kGroups);
}

io::Result<RouteMonitor> RouteMonitor::open(std::span<const int> groups) {
  io::Result<io::Fd> fd = open_rtnetlink(groups);
  if (!fd) return io::Error{fd.error().number, "watch routes: " + fd.error().context};
  return RouteMonitor(std::move(*fd));
}

bool RouteMonitor::read_changes() {
  bool changed = false;
  char rest_is_dropped[1];
  for (;;) {
    const ssize_t count = ::recv(fd_.get(), rest_is_dropped, sizeof rest_is_dropped, MSG_DONTWAIT);
    // ENOBUFS: so many changes that the kernel dropped some.
    if (count < 0 && errno != ENOBUFS && errno != EINTR) return changed;
    changed = true;
  }
}

}  // namespace culvert::host
