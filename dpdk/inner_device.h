// An inner side on each queue of a port.
#pragma once

#include <memory>
#include <vector>

#include "dpdk/inner_port.h"
#include "dpdk/next_hops.h"
#include "dpdk/port.h"
#include "io/inner_device.h"

namespace culvert::dpdk {

// Thread safety: as InnerDevice says. The port and the published addresses outlive it.
class InnerDevice final : public io::InnerDevice {
 public:
  // `wanted`: see InnerPort.
  InnerDevice(const Port& port, const PublishedNextHops& next_hops, WantedHops* wanted = nullptr);

  size_t queue_count() const override { return queues_.size(); }
  InnerPort& queue(size_t i) override { return *queues_[i]; }
  // The device spreads packets over the queues that it was opened with.
  bool can_grow() const override { return false; }
  io::Status add_queue() override;
  void remove_last_queue() override {}
  io::Status steer(const io::SteeringMap& table) override;
  io::DeviceCounts counts() const override;

 private:
  const Port& port_;
  std::vector<std::unique_ptr<InnerPort>> queues_;
};

}  // namespace culvert::dpdk
