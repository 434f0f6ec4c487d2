#include "src/daemon/interface.h"

#include <utility>

#include "crypto/aead_engine.h"
#include "io/fd.h"
#include "io/uring/ring.h"
#include "src/daemon/cpus.h"
#include "src/host/link_setup.h"
#include "src/host/netns_id.h"
#include "src/log.h"
#include "src/uapi/socket.h"

namespace culvert::daemon {
namespace {

// What wireguard-go sets, and what fits a 1500-byte path with IPv6 outside.
constexpr int kDefaultMtu = 1420;

// A wish: a device that was passed to us may be in another network namespace, or not ours to change.
void forgo_link_local_address(tun::TunDevice& tun) {
  const io::Result<io::Fd> home = tun.device_namespace_fd();
  if (!home || !host::is_own_namespace(home->get())) return;
  if (const io::Status set = host::forgo_link_local_address(tun.name()); !set) log_verbose("{}", set.error().text());
}

io::Error because(const std::string& what, const io::Error& error) {
  return {error.number, what + ": " + error.context};
}

}  // namespace

io::Result<std::unique_ptr<tun::TunDevice>> open_tun(const std::string& name, const Environment& environment,
                                                     bool short_queues) {
  tun::TunOptions options;
  options.vnet = environment.tun_offload;
  options.tso = environment.tun_tso;
  options.uso = environment.tun_uso;
  options.join = environment.tun_join;
  options.engine = environment.tun_engine;
  options.lanes = environment.short_queues && short_queues;
  // Each interface that could have several queues costs the kernel 6 MiB.
  options.multi_queue = environment.workers || read_host_cpus().usable.size() > 1;
  auto tun = environment.tun_fd ? tun::TunDevice::adopt(io::Fd(*environment.tun_fd), options)
                                : tun::TunDevice::create(name, options);
  if (!tun) return because("Failed to create TUN device", tun.error());
  if (const io::Status set = (*tun)->set_mtu(kDefaultMtu); !set)
    return because("Failed to create TUN device", set.error());
  forgo_link_local_address(**tun);
  return tun;
}

io::Result<std::unique_ptr<Interface>> Interface::open(const std::string& name, std::unique_ptr<tun::TunDevice> tun,
                                                       const Environment& environment, Process process,
                                                       const InterfaceRequest& request) {
  device::WorkerRequest workers = environment.workers.value_or(request.workers.value_or(device::WorkerRequest()));
  // A worker of a port takes a core where it has much to do, so there is one unless somebody asks for more.
  if (request.dpdk && !environment.workers && !request.workers) workers.count = 1;
  auto plan = plan_workers(workers, read_host_cpus());
  if (!plan) return plan.error();
  // A port that is polled would keep others on its threads from sleeping.
  if (!request.dpdk) plan->threads = request.threads;
  if (environment.udp_engine == io::Engine::io_uring)
    if (const auto ring = io::Ring::open(); !ring)
      return because("CULVERT_UDP_ENGINE=io_uring is not possible here, use auto or epoll", ring.error());
  if (request.dpdk && environment.listen)
    return io::Error{0, "CULVERT_LISTEN is for sockets, and --dpdk has none: leave one of them out"};
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return wakeup.error();
  std::unique_ptr<DpdkPorts> ports;
  if (request.dpdk) {
    plan->busy_poll = request.dpdk->busy_poll;
    auto opened = DpdkPorts::open(*request.dpdk, plan->count);
    if (!opened) return because("Failed to open ports of DPDK", opened.error());
    ports = std::move(*opened);
  }
  std::unique_ptr<Interface> interface(
      new Interface(tun != nullptr ? tun->name() : name, std::move(tun), std::move(ports), std::move(*wakeup)));
  if (const io::Status started = interface->start(environment, process, *plan, request.mtu.value_or(kDefaultMtu));
      !started)
    return started.error();
  return interface;
}

io::InnerDevice& Interface::inner() const {
  return tun_ != nullptr ? static_cast<io::InnerDevice&>(*tun_) : *ports_->inner();
}

io::Status Interface::start(const Environment& environment, Process process, const device::WorkerPlan& plan,
                            uint32_t mtu) {
  auto listener =
      environment.uapi_fd ? io::Result<io::Fd>(io::Fd(*environment.uapi_fd)) : uapi::open_uapi_socket(name_);
  if (!listener) return because("Failed to open the UAPI socket", listener.error());
  device_ = std::make_unique<device::Device>(
      device::DeviceOptions{.name = name_,
                            .gso = environment.gso,
                            .gro = environment.gro,
                            .source_ports = environment.source_ports,
                            .udp_engine = environment.udp_engine,
                            .tun_engine = tun_ != nullptr ? tun_->queue(0).engine() : io::Engine::automatic,
                            .listen = environment.listen,
                            .outer = ports_ != nullptr ? &ports_->outer() : nullptr},
      wakeup_);
  device_->set_mtu(mtu);
  if (const io::Status started = device_->start_workers(inner(), plan); !started)
    return because("Failed to start the workers", started.error());
  auto loop = ControlLoop::open(*device_, wakeup_, tun_ != nullptr ? tun_->queue(0).fd() : -1, std::move(*listener),
                                environment.uapi_fd ? "" : uapi::uapi_socket_file(name_),
                                process == Process::drop_in ? ControlLoop::Signals::end : ControlLoop::Signals::none);
  if (!loop) return because("Failed to start the control loop", loop.error());
  loop_ = std::move(*loop);
  if (ports_ != nullptr)
    if (io::Status watched = loop_->watch(ports_->fd(), [this] { ports_->attend(); }); !watched) return watched;
  log_what_is_in_use();
  return io::Success{};
}

void Interface::log_what_is_in_use() const {
  if (ports_ != nullptr) log_verbose("DPDK: {}", ports_->text());
  if (tun_ == nullptr) return log_verbose("AEAD engine {}", crypto::engine_name());
  const io::InnerOffloads offloads = tun_->queue(0).offloads();
  log_verbose("AEAD engine {}; TUN by {}; TUN offloads: checksum {}, TCP {}, UDP {}", crypto::engine_name(),
              io::engine_name(tun_->queue(0).engine()), offloads.checksum, offloads.tcp4 && offloads.tcp6,
              offloads.udp4 && offloads.udp6);
}

}  // namespace culvert::daemon
