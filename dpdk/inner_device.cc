#include "dpdk/inner_device.h"

#include <cerrno>

namespace culvert::dpdk {

InnerDevice::InnerDevice(const Port& port, const PublishedNextHops& next_hops, WantedHops* wanted) : port_(port) {
  for (uint16_t i = 0; i < port.queues(); ++i)
    queues_.push_back(std::make_unique<InnerPort>(port, i, next_hops, wanted));
}

io::Status InnerDevice::add_queue() {
  return io::Error{EOPNOTSUPP, "a port has the queues that it was opened with"};
}

io::Status InnerDevice::steer(const io::SteeringMap&) {
  return io::Error{EOPNOTSUPP, "a port spreads packets by itself"};
}

io::DeviceCounts InnerDevice::counts() const {
  io::CounterValues<kPortCounters.size()> sides{};
  for (const auto& queue : queues_) io::add_counters(queue->port_counters(), kPortCounters, sides);
  return port_.counts(sides);
}

}  // namespace culvert::dpdk
