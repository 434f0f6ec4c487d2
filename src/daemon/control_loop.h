// The control thread's event loop: what happens outside reaches the device from here, with the time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "io/endpoint.h"
#include "io/fd.h"
#include "io/poller.h"
#include "io/result.h"
#include "io/timer_fd.h"
#include "io/wakeup.h"
#include "src/daemon/metrics_page.h"
#include "src/daemon/metrics_server.h"
#include "src/device/device.h"
#include "src/host/link_monitor.h"
#include "src/host/route_monitor.h"
#include "src/uapi/conversation.h"
#include "src/uapi/server.h"

namespace culvert::daemon {

// Thread safety: one thread makes and runs it.
class ControlLoop final : public uapi::Handler {
 public:
  // Whether the loop ends on a signal of end_signals(), or somebody else reads them.
  enum class Signals : uint8_t { end, none };

  // `tun_fd` is negative where the inner side is a port: then the link is always up. `uapi_path` is as in
  // Server::open(). What is passed by reference outlives the loop. `device` has its workers already.
  // block_end_signals() was called before threads started: the loop reads them. Errors: EMFILE, ENFILE, ENOMEM.
  static io::Result<std::unique_ptr<ControlLoop>> open(device::Device& device, const io::Wakeup& wakeup, int tun_fd,
                                                       io::Fd uapi_listener, const std::string& uapi_path,
                                                       Signals signals);
  ~ControlLoop() override;

  // Applies `change` to the device as a turn of its own, before run().
  template <typename Change>
  auto turn(Change&& change) {
    begin_turn();
    auto result = change(device_);
    end_turn();
    return result;
  }

  // Brings the device to the state that the link has now, as a turn of its own, before run(). Error: the host refuses
  // the listen port or the fwmark.
  io::Status follow_link();

  // Until a signal, the deletion of the TUN device or of the UAPI socket.
  void run();

  // Calls `attend` in a turn whenever the descriptor is readable; before run(). Both outlive the loop.
  io::Status watch(int fd, std::function<void()> attend);

  // For whoever runs several loops: does what is ready and due, and never waits. fd() is readable (level-triggered)
  // while there is something to do. ended(): a run() would be over.
  void run_once();
  int fd() const { return poller_.fd(); }
  bool ended() const { return stop_; }

  // Serves metrics and health from now on; before run(). Errors: those of MetricsServer::open().
  io::Status serve_metrics(const MetricsAddress& at);

  // Handler.
  crypto::SecretString get() override;
  std::function<std::string()> metrics() override;
  device::Configurable& target() override { return device_; }
  void on_error(const std::string& text) override;

 private:
  ControlLoop(device::Device& device, const io::Wakeup& wakeup, io::Poller poller, io::TimerFd timer, io::Fd signals,
              std::unique_ptr<host::LinkMonitor> link, host::RouteMonitor routes)
      : device_(device),
        wakeup_(wakeup),
        poller_(std::move(poller)),
        timer_(std::move(timer)),
        signals_(std::move(signals)),
        link_(std::move(link)),
        routes_(std::move(routes)) {}

  Pieces page(bool each_peer) const;
  io::Status watch_all();
  void run_turn(std::span<const io::PollEvent> ready);
  void handle(const io::PollEvent& event);
  io::Status read_link_events();
  void begin_turn();
  void end_turn();

  device::Device& device_;
  const io::Wakeup& wakeup_;
  io::Poller poller_;
  io::TimerFd timer_;
  io::Fd signals_;                           // none if somebody else reads them
  std::unique_ptr<host::LinkMonitor> link_;  // null without a TUN device
  host::RouteMonitor routes_;
  std::unique_ptr<uapi::Server> uapi_;
  std::unique_ptr<MetricsServer> metrics_;  // null unless asked for
  std::function<void()> attend_;            // of watch()
  protocol::Instant now_{};                 // of this turn
  std::optional<protocol::Instant> armed_;  // what timer_ waits for
  bool stop_ = false;
};

}  // namespace culvert::daemon
