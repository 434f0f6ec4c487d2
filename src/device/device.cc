// Life cycle: workers, link and sockets.

#include "src/device/device.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "crypto/random.h"
#include "io/udp_sockets.h"
#include "src/log.h"

namespace culvert::device {
namespace {

// Between attempts to open the sockets that the host refused.
constexpr protocol::Duration kFirstBindRetry = std::chrono::seconds(1);
constexpr protocol::Duration kLastBindRetry = std::chrono::seconds(8);

io::Error explained(const io::Error& error, uint16_t port) {
  if (error.number != EADDRINUSE || port == 0) return error;
  return {error.number, error.context + " (end it, or choose another port)"};
}

}  // namespace

Device::Device(DeviceOptions options, const io::Wakeup& control)
    : options_(std::move(options)),
      control_(control),
      random_index_([] { return crypto::random_uint32(); }),
      source_ports_(options_.source_ports),
      index_table_(std::make_unique<protocol::IndexTable>()),
      workers_(published_, control_, options_.worker_clock, options_.udp_engine) {
  published_.index_table.store(index_table_.get(), std::memory_order_release);
  publish_allowed_ips();
}

Device::~Device() {
  (void)set_link_up(false);
  remove_all_peers();
  reclaim();
  workers_.stop();
}

io::Status Device::start_workers(io::InnerDevice& inner, const WorkerPlan& plan) {
  io::Status started =
      options_.outer != nullptr ? workers_.start(inner, plan, *options_.outer) : workers_.start(inner, plan);
  if (!started) return started;
  excused_handshakes_.assign(workers_.size(), 0);
  tell_groups_of_workers();
  return io::Success{};
}

int Device::set_workers(uint32_t count) {
  const io::Status resized =
      workers_.resize(count, sockets_.get(), [this](const pipeline::Worker& leaving) { take_over_from(leaving); });
  excused_handshakes_.resize(workers_.size(), 0);
  tell_groups_of_workers();
  if (resized) return 0;
  log_error("{}", resized.error().text());
  return resized.error().number;
}

// What a worker has counted of the peers, and what it still had to tell of them.
void Device::take_over_from(const pipeline::Worker& leaving) {
  for (auto& [id, peer] : peers_) {
    const pipeline::PeerTraffic& counted = leaving.mailbox().traffic.of(peer->path.number);
    peer->path.traffic.received_bytes.add(counted.received_bytes.get());
    peer->path.traffic.sent_bytes.add(counted.sent_bytes.get());
  }
  overflow_walk_.request();
}

void Device::begin_turn(protocol::Instant now, protocol::WallTime wall) {
  now_ = now;
  wall_ = wall;
  initiations_in_turn_ = 0;
}

io::Status Device::set_link_up(bool up) {
  if (up) {
    if (up_) return io::Success{};
    link_up_ = true;
    return bring_up();
  }
  link_up_ = false;
  bind_retry_at_.reset();
  refused_by_ = 0;
  if (!up_) return io::Success{};
  up_ = false;
  // Without sockets no worker stages anything any more.
  close_sockets();
  std::vector<pipeline::PeerPath*> paths;
  for (auto& [id, peer] : peers_) {
    stop_peer(*peer);
    paths.push_back(&peer->path);
  }
  drop_staged(paths, pipeline::DropReason::handshake_failed);
  log_verbose("Interface down");
  return io::Success{};
}

// The link is up: so are we once the sockets can be opened, now or later.
io::Status Device::bring_up() {
  if (io::Status opened = open_sockets(listen_port_); !opened) {
    retry_bind_later(opened.error());
    return opened;
  }
  up_ = true;
  bind_retry_at_.reset();
  refused_by_ = 0;
  log_verbose("Interface up, listening on port {}", listen_port_);
  for (auto& [id, peer] : peers_) start_peer(*peer);
  excuse_waiting_handshakes();
  return io::Success{};
}

void Device::retry_bind_later(const io::Error& error) {
  if (refused_by_ == 0) bind_retry_after_ = protocol::Duration::zero();
  if (refused_by_ != error.number) log_error("The interface is up, but not served: {}; trying again", error.text());
  refused_by_ = error.number;
  bind_retry_after_ = std::clamp<protocol::Duration>(2 * bind_retry_after_, kFirstBindRetry, kLastBindRetry);
  bind_retry_at_ = now_ + bind_retry_after_;
}

void Device::set_mtu(uint32_t mtu_bytes) {
  mtu_ = mtu_bytes;
  published_.mtu.store(mtu_bytes, std::memory_order_relaxed);
}

bool Device::inner_gone() const {
  return std::any_of(
      workers_.begin(), workers_.end(), [](const auto& worker) { return worker->inner_gone(); });
}

io::UdpOptions Device::udp_options(uint16_t port) const {
  io::UdpOptions udp;
  udp.port = port;
  udp.source_ports = source_ports_;
  udp.fwmark = fwmark_;
  udp.gso = options_.gso;
  udp.gro = options_.gro;
  udp.wide = options_.listen.has_value();
  return udp;
}

// Opens sockets on `port` (0: any) and the source ports beside those in use, and replaces those only if that succeeds.
io::Status Device::open_sockets(uint16_t port) {
  if (options_.outer != nullptr) return open_ports(port);
  auto sockets = io::UdpSocketGroup::open(udp_options(port), std::max<size_t>(1, workers_.size()),
                                          workers_.socket_steering(), io::kernel_syscalls(), sockets_.get());
  if (!sockets) return explained(sockets.error(), port);
  listen_port_ = (*sockets)->port();
  adopt_sockets(std::move(*sockets));
  return io::Success{};
}

// The same on a port of a network card.
io::Status Device::open_ports(uint16_t port) {
  auto ports = options_.outer->listen(port, source_ports_);
  if (!ports) return explained(ports.error(), port);
  device_ports_ = std::move(*ports);
  listen_port_ = device_ports_.front();
  published_.listen_port.store(listen_port_, std::memory_order_relaxed);
  workers_.adopt(*options_.outer);
  forget_sources();
  return io::Success{};
}

void Device::close_sockets() {
  adopt_sockets(nullptr);
  device_ports_.clear();
  if (options_.outer != nullptr) options_.outer->stop_listening();
}

// Those that we listen on and send from; none while the link is down.
std::span<const uint16_t> Device::local_ports() const {
  return sockets_ != nullptr ? sockets_->ports() : std::span<const uint16_t>(device_ports_);
}

// While the link is down there are no sockets, and none to come are promised. But whoever sets a port that is taken
// hears of it at once, as from wireguard-go; wg-quick then takes back what it did.
io::Status Device::try_ports(uint16_t port) const {
  if (options_.outer != nullptr) {
    const auto ports = options_.outer->listen(port, source_ports_);
    options_.outer->stop_listening();
    if (!ports) return explained(ports.error(), port);
    return io::Success{};
  }
  io::UdpOptions udp = udp_options(port);
  udp.fwmark = 0;
  const auto sockets = io::UdpSockets::open(udp);
  if (!sockets) return explained(sockets.error(), port);
  return io::Success{};
}

// Hands the sockets to the workers and closes the old ones; null when the link is down.
void Device::adopt_sockets(std::unique_ptr<io::UdpSocketGroup> sockets) {
  published_.listen_port.store(sockets != nullptr ? sockets->port() : 0, std::memory_order_relaxed);
  workers_.adopt(sockets.get());
  sockets_ = std::move(sockets);
  listen_wide();
  forget_sources();
}

// The sockets serve without it, too.
void Device::listen_wide() {
  wide_listener_.reset();
  if (sockets_ == nullptr || !options_.listen || !options_.listen->has_ports()) return;
  auto opened = io::WideListener::open(*options_.listen, *sockets_);
  if (!opened) return log_error("Listening on port {} alone: {}", sockets_->port(), opened.error().text());
  wide_listener_ = std::move(*opened);
}

}  // namespace culvert::device
