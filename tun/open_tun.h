// Descriptors of TUN devices: the first one, which makes or takes the device, and further queues.
#pragma once

#include <string>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::tun {

// A queue of a TUN device, and what the device turned out to be.
struct OpenedTun {
  io::Fd fd;  // non-blocking
  std::string name;
  bool vnet_header = false;
  bool multi_queue = false;
};

// Makes the device `name`, or takes a persistent one that nobody has. That may be for one queue, and an old kernel may
// know no virtio header, whatever is asked for here. Errors: see TunDevice::create().
io::Result<OpenedTun> open_tun(const std::string& name, bool vnet_header, bool multi_queue);

// Another queue of the multi-queue device of `first`, which may have been renamed or moved to another network
// namespace; getting there needs CAP_SYS_ADMIN. EAGAIN if that happens right now.
io::Result<io::Fd> open_another_queue(int first);

// The network namespace that the device of `fd` is in (TUNGETDEVNETNS, Linux 5.2).
io::Result<io::Fd> open_device_namespace(int fd, const std::string& name);

}  // namespace culvert::tun
