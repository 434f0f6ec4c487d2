// Network namespaces as the kernel names them to each other: by ids that keep nothing alive.
#pragma once

#include <cstdint>
#include <optional>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::host {

// The namespace in which a TUN device lives (TUNGETDEVNETNS, Linux 5.2; needs CAP_NET_ADMIN). The descriptor keeps
// the namespace alive: close it soon.
io::Result<io::Fd> open_tun_namespace(int tun_fd);

// Whether `namespace_fd` is the namespace of the calling thread. False too when the thread's own is unknown: without
// CAP_NET_ADMIN and without /proc.
bool is_own_namespace(int namespace_fd);

// The id of another namespace in ours, which is given one if it has none. `rtnetlink_fd` has no groups.
io::Result<int32_t> netns_id(int rtnetlink_fd, int namespace_fd);

}  // namespace culvert::host
