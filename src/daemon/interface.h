// One WireGuard interface of this process: its TUN device, its device with workers, its UAPI socket and control loop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/result.h"
#include "io/wakeup.h"
#include "src/daemon/control_loop.h"
#include "src/daemon/environment.h"
#include "src/device/device.h"
#include "tun/tun_device.h"

namespace culvert::daemon {

// Creates the TUN device, or adopts WG_TUN_FD, with wireguard-go's MTU and without a link-local address.
io::Result<std::unique_ptr<tun::TunDevice>> open_tun(const std::string& name, const Environment& environment);

// Thread safety: the control thread alone. Everything ends with it, in reverse order.
class Interface {
 public:
  // What the descriptors of the environment (WG_TUN_FD, WG_UAPI_FD) are for, and who reads the signals.
  enum class Process : uint8_t {
    drop_in,  // one interface in this process; its loop ends on a signal
    gateway,  // one of several; somebody else reads the signals
  };

  // Brings up all but the link. block_end_signals() was called before. `workers`: what a file asks for; the environment
  // goes before it. An error says what failed, for the user.
  static io::Result<std::unique_ptr<Interface>> open(std::unique_ptr<tun::TunDevice> tun,
                                                     const Environment& environment, Process process,
                                                     const std::optional<device::WorkerRequest>& workers);
  Interface(const Interface&) = delete;
  Interface& operator=(const Interface&) = delete;

  const std::string& name() const { return name_; }
  ControlLoop& loop() { return *loop_; }
  const device::Device& device() const { return *device_; }

 private:
  Interface(std::unique_ptr<tun::TunDevice> tun, io::Wakeup wakeup);

  io::Status start(const Environment& environment, Process process, const device::WorkerPlan& plan);

  const std::unique_ptr<tun::TunDevice> tun_;
  const std::string name_;
  const io::Wakeup wakeup_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace culvert::daemon
