// One WireGuard interface of this process: its TUN device or ports, its device with workers, its UAPI socket and its
// control loop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/result.h"
#include "io/wakeup.h"
#include "src/daemon/control_loop.h"
#include "src/daemon/dpdk_ports.h"
#include "src/daemon/environment.h"
#include "src/device/device.h"
#include "src/device/port_request.h"
#include "tun/tun_device.h"

namespace culvert::daemon {

// Creates the TUN device, or adopts WG_TUN_FD, with wireguard-go's MTU and without a link-local address.
io::Result<std::unique_ptr<tun::TunDevice>> open_tun(const std::string& name, const Environment& environment,
                                                     bool short_queues);

// What a command line or a file asks for. Of workers the environment goes before it.
struct InterfaceRequest {
  std::optional<device::WorkerRequest> workers;
  std::optional<device::DpdkRequest> dpdk;     // none: sockets
  std::optional<uint32_t> mtu;                 // of an inner port: it has no interface that somebody could set it on
  pipeline::WorkerThreads* threads = nullptr;  // shared with other interfaces; null: its workers have theirs

  // Whether the inner side is a TUN device.
  bool has_tun() const { return !dpdk || !dpdk->inner; }
};

// Thread safety: the control thread alone. Everything ends with it, in reverse order.
class Interface {
 public:
  // What the descriptors of the environment (WG_TUN_FD, WG_UAPI_FD) are for, and who reads the signals.
  enum class Process : uint8_t {
    drop_in,  // one interface in this process; its loop ends on a signal
    gateway,  // one of several; somebody else reads the signals
  };

  // Brings up all but the link. block_end_signals() was called before. `tun` is null where the request has none. An
  // error says what failed, for the user.
  static io::Result<std::unique_ptr<Interface>> open(const std::string& name, std::unique_ptr<tun::TunDevice> tun,
                                                     const Environment& environment, Process process,
                                                     const InterfaceRequest& request);
  Interface(const Interface&) = delete;
  Interface& operator=(const Interface&) = delete;

  const std::string& name() const { return name_; }
  ControlLoop& loop() { return *loop_; }
  const device::Device& device() const { return *device_; }

 private:
  Interface(std::string name, std::unique_ptr<tun::TunDevice> tun, std::unique_ptr<DpdkPorts> ports, io::Wakeup wakeup)
      : name_(std::move(name)), tun_(std::move(tun)), ports_(std::move(ports)), wakeup_(std::move(wakeup)) {}

  io::Status start(const Environment& environment, Process process, const device::WorkerPlan& plan, uint32_t mtu);
  void log_what_is_in_use() const;
  io::InnerDevice& inner() const;

  const std::string name_;
  const std::unique_ptr<tun::TunDevice> tun_;  // null: the inner side is a port
  const std::unique_ptr<DpdkPorts> ports_;     // null: no DPDK
  const io::Wakeup wakeup_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace culvert::daemon
