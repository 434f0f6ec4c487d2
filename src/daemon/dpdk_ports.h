// The ports of an interface that works on DPDK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "io/inner_device.h"
#include "io/outer_device.h"
#include "io/result.h"
#include "src/device/port_request.h"

namespace culvert::daemon {

// Thread safety: the control thread alone.
class DpdkPorts {
 public:
  // Starts DPDK, once for the process, and opens the ports with a queue for each of the workers. Errors, for the user:
  // this program was built without DPDK, DPDK's own, and those of the ports.
  static io::Result<std::unique_ptr<DpdkPorts>> open(const device::DpdkRequest& request, size_t workers);

  virtual ~DpdkPorts() = default;

  virtual io::OuterDevice& outer() = 0;
  // Null: the inner side is a TUN device.
  virtual io::InnerDevice* inner() = 0;
  // Ports that the kernel has as well, and for which the user gave no addresses, follow the kernel: fd() is readable
  // (level-triggered) while attend() has something to do.
  virtual int fd() const = 0;
  virtual void attend() = 0;
  // For the log: "net_memif0 (net_memif, MTU 1500, 02:00:00:00:00:01)".
  virtual std::string text() const = 0;
};

}  // namespace culvert::daemon
