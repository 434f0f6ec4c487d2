// The device behind inner sides: a queue for each worker, and who brings each packet to the right one. A TUN device, or
// a fake.
#pragma once

#include <cstddef>

#include "io/device_counts.h"
#include "io/inner_side.h"
#include "io/result.h"
#include "io/steering_map.h"

namespace culvert::io {

// Thread safety: the control thread's; each queue is its worker's.
class InnerDevice {
 public:
  virtual ~InnerDevice() = default;

  // One at least.
  virtual size_t queue_count() const = 0;
  virtual InnerSide& queue(size_t i) = 0;

  // Whether add_queue() may succeed.
  virtual bool can_grow() const = 0;
  // Adds a queue, the last one, while the device is in use. Error: there can be no more.
  virtual Status add_queue() = 0;
  // Closes the last queue, of several; nobody uses it any more, and what waits there is lost.
  virtual void remove_last_queue() = 0;

  // From now on queue i gets the packets whose slots belong to worker i in `table`, also when that changes. An error
  // says why flows would move between queues by themselves: then there may be one queue alone.
  virtual Status steer(const SteeringMap& table) = 0;

  // What it has counted so far, beside its sides.
  virtual DeviceCounts counts() const { return {}; }
};

}  // namespace culvert::io
