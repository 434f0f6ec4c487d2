#include "src/daemon/dpdk_ports.h"

namespace culvert::daemon {

io::Result<std::unique_ptr<DpdkPorts>> DpdkPorts::open(const device::DpdkRequest&, size_t) {
  return io::Error{0, "this culvert was built without DPDK (install libdpdk-dev and build it anew)"};
}

}  // namespace culvert::daemon
