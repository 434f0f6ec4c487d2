// The device behind outer sides where there are no sockets: a port of a network card, or a fake. A queue for each
// worker; the device itself spreads datagrams over them, and no flow moves between queues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/device_counts.h"
#include "io/outer_side.h"
#include "io/result.h"
#include "io/source_ports.h"

namespace culvert::io {

// Thread safety: the control thread's; each side is its worker's.
class OuterDevice {
 public:
  virtual ~OuterDevice() = default;

  // One at least. Constant: every queue has to have a worker.
  virtual size_t queue_count() const = 0;

  // Takes datagrams to these UDP ports, instead of those before: `port` and as many others as `wanted` says. 0: the
  // first of a range, or any. Yields them in host byte order, the base port first. Errors: EADDRINUSE where the kernel
  // has somebody on such a port, and what the driver says; then the ports are those before.
  virtual Result<std::vector<uint16_t>> listen(uint16_t port, const SourcePorts& wanted) = 0;

  // Takes no datagrams any more.
  virtual void stop_listening() = 0;

  // A side on queue i for the ports that listen() has yielded. The side that was made before for the queue serves until
  // its worker has the new one.
  virtual std::unique_ptr<OuterSide> make_side(size_t queue) = 0;

  // Whether the device was taken away: final.
  virtual bool gone() const = 0;

  // What it has counted so far.
  virtual DeviceCounts counts() const { return {}; }
};

}  // namespace culvert::io
