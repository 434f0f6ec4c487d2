#include "dpdk/outer_device.h"

#include <linux/filter.h>
#include <rte_random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace culvert::dpdk {
namespace {

// Those that the kernel chooses from, too, where it is not told otherwise.
constexpr uint32_t kFirstFreePort = 32768, kFreePorts = 28232;

// Without a kernel that has the port nobody else can have a UDP port on it.
std::vector<uint16_t> choose_ports(uint16_t base, const io::SourcePorts& wanted) {
  if (base == 0) base = wanted.first;
  if (base == 0) base = static_cast<uint16_t>(kFirstFreePort + rte_rand_max(kFreePorts - wanted.count));
  std::vector<uint16_t> ports{base};
  const uint32_t first = wanted.is_range() ? wanted.first : base;
  for (uint32_t i = 0; i < wanted.count; ++i) {
    // Behind the last port the lower ones are free.
    const auto port = static_cast<uint16_t>(first + i < 65536 ? first + i : first + i - 65536 + kFirstFreePort);
    if (port != base) ports.push_back(port);
  }
  return ports;
}

// Binds the UDP ports for nobody: what comes is dropped before it is queued.
io::Result<std::unique_ptr<io::UdpSockets>> reserve_ports(uint16_t port, const io::SourcePorts& wanted,
                                                          const io::UdpSockets* before) {
  io::UdpOptions options;
  options.port = port;
  options.source_ports = wanted;
  options.gso = options.gro = false;
  options.receive_buffer_bytes = options.send_buffer_bytes = 4096;
  auto sockets = io::UdpSockets::open(options, io::kernel_syscalls(), {.before = before});
  if (!sockets) return sockets;
  sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{.len = 1, .filter = &drop_all};
  for (size_t i = 0; i < (*sockets)->ports().size(); ++i) {
    for (const io::Family family : {io::Family::v4, io::Family::v6}) {
      const int fd = (*sockets)->fd(family, i);
      if (fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
        return io::Error{errno, "drop what comes to UDP port " + std::to_string((*sockets)->ports()[i])};
    }
  }
  return sockets;
}

}  // namespace

io::Result<std::vector<uint16_t>> OuterDevice::listen(uint16_t port, const io::SourcePorts& wanted) {
  std::unique_ptr<io::UdpSockets> reserved;
  std::vector<uint16_t> ports;
  if (port_.kernel_interface() != 0) {
    auto opened = reserve_ports(port, wanted, reserved_.get());
    if (!opened) return opened.error();
    reserved = std::move(*opened);
    ports.assign(reserved->ports().begin(), reserved->ports().end());
  } else {
    ports = choose_ports(port, wanted);
  }
  if (io::Status steered = steer(ports); !steered) {
    (void)steer(ports_);
    return steered.error();
  }
  reserved_ = std::move(reserved);
  ports_ = ports;
  return ports;
}

void OuterDevice::stop_listening() {
  (void)steer({});
  reserved_.reset();
  ports_.clear();
}

// Any other port that is not isolated brings every frame, and its sides choose.
io::Status OuterDevice::steer(const std::vector<uint16_t>& ports) {
  if (xdp_ != nullptr) return xdp_->steer(ports);
  if (!port_.is_isolated()) return io::Success{};
  port_.stop_steering();
  if (ports.empty()) return io::Success{};
  for (const auto& rule : flow_rules(ports, next_hops_.current()->link.vlan, port_.queues()))
    if (io::Status steered = port_.steer(*rule); !steered) return steered;
  return io::Success{};
}

std::unique_ptr<io::OuterSide> OuterDevice::make_side(size_t queue) {
  return std::make_unique<OuterPort>(
      port_, static_cast<uint16_t>(queue), next_hops_,
      OuterPortOptions{.local_ports = ports_, .wanted = wanted_, .counters = &counters_[queue]});
}

io::DeviceCounts OuterDevice::counts() const {
  io::CounterValues<kPortCounters.size()> sides{};
  for (const PortCounters& one : counters_) io::add_counters(one, kPortCounters, sides);
  return port_.counts(sides);
}

}  // namespace culvert::dpdk
