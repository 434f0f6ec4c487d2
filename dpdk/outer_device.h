// An outer side on each queue of a port, and the UDP ports that they listen on.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "dpdk/next_hops.h"
#include "dpdk/outer_port.h"
#include "dpdk/port.h"
#include "dpdk/xdp_steering.h"
#include "io/outer_device.h"
#include "io/udp_sockets.h"

namespace culvert::dpdk {

// Where the kernel has the port as well, sockets that take nothing are bound to the UDP ports: so nobody else gets them
// while we listen, and the kernel, which may see copies of our datagrams, does not answer that the port is unreachable.
//
// Thread safety: as OuterDevice says. The port and the published addresses outlive it.
class OuterDevice final : public io::OuterDevice {
 public:
  // `wanted`: see OuterPortOptions; it outlives the device. `xdp`: what steers datagrams to a port of af_xdp; null: no
  // such port, or a program of somebody else's.
  OuterDevice(Port& port, const PublishedNextHops& next_hops, WantedHops* wanted = nullptr,
              std::unique_ptr<XdpSteering> xdp = nullptr)
      : port_(port), next_hops_(next_hops), wanted_(wanted), xdp_(std::move(xdp)), counters_(port.queues()) {}

  size_t queue_count() const override { return port_.queues(); }
  io::Result<std::vector<uint16_t>> listen(uint16_t port, const io::SourcePorts& wanted) override;
  void stop_listening() override;
  std::unique_ptr<io::OuterSide> make_side(size_t queue) override;
  bool gone() const override { return port_.gone(); }
  io::DeviceCounts counts() const override;

 private:
  io::Status steer(const std::vector<uint16_t>& ports);

  Port& port_;
  const PublishedNextHops& next_hops_;
  WantedHops* const wanted_;
  const std::unique_ptr<XdpSteering> xdp_;
  std::vector<PortCounters> counters_;  // of each queue
  std::vector<uint16_t> ports_;
  std::unique_ptr<io::UdpSockets> reserved_;  // null: the kernel does not have the port, or we do not listen
};

}  // namespace culvert::dpdk
