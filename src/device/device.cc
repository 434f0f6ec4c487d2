#include "src/device/device.h"

#include <algorithm>
#include <utility>

#include "crypto/random.h"
#include "io/udp_queue.h"
#include "src/log.h"
#include "src/pipeline/grace_period.h"

namespace culvert::device {

Device::Device(DeviceOptions options, const io::Wakeup& control)
    : options_(std::move(options)),
      control_(control),
      random_index_([] { return crypto::random_uint32(); }),
      index_table_(std::make_unique<protocol::IndexTable>()) {
  published_.index_table.store(index_table_.get(), std::memory_order_release);
  publish_allowed_ips();
}

Device::~Device() {
  (void)set_link_up(false);
  remove_all_peers();
  reclaim();
  workers_.clear();
}

io::Status Device::start_workers(std::span<io::InnerQueue* const> queues) {
  for (io::InnerQueue* const queue : queues) {
    auto worker = pipeline::Worker::start(published_, control_, *queue, options_.worker_clock);
    if (!worker) return worker.error();
    workers_.push_back(std::move(*worker));
  }
  return io::Success{};
}

void Device::begin_turn(protocol::Instant now, protocol::WallTime wall) {
  now_ = now;
  wall_ = wall;
}

void Device::reclaim() {
  publish_allowed_ips();
  const bool something = !retired_keypairs_.empty() || !retired_allowed_ips_.empty() ||
                         !retired_index_tables_.empty() || !retired_mac1_keys_.empty() || !detached_peers_.empty();
  if (!something) return;
  pipeline::wait_for_workers();
  retired_keypairs_.clear();
  retired_allowed_ips_.clear();
  retired_index_tables_.clear();
  retired_mac1_keys_.clear();
  free_detached_peers();
}

io::Status Device::set_link_up(bool up) {
  if (up == up_) return io::Success{};
  if (!up) {
    up_ = false;
    // Without sockets no worker stages anything any more.
    adopt_sockets(nullptr);
    for (auto& [id, peer] : peers_) stop_peer(*peer);
    log_verbose("Interface down");
    return io::Success{};
  }
  if (io::Status opened = open_sockets(listen_port_); !opened) return opened;
  up_ = true;
  log_verbose("Interface up, listening on port {}", listen_port_);
  for (auto& [id, peer] : peers_) start_peer(*peer);
  return io::Success{};
}

void Device::set_mtu(uint32_t mtu_bytes) {
  mtu_ = mtu_bytes;
  published_.mtu.store(mtu_bytes, std::memory_order_relaxed);
}

bool Device::inner_gone() const {
  return std::any_of(
      workers_.begin(), workers_.end(), [](const auto& worker) { return worker->inner_gone(); });
}

// Opens sockets on `port` (0: any) beside those in use, and replaces those only if that succeeds.
io::Status Device::open_sockets(uint16_t port) {
  io::UdpOptions udp;
  udp.port = port;
  udp.fwmark = fwmark_;
  udp.gso = options_.gso;
  udp.gro = options_.gro;
  auto sockets = io::UdpSockets::open(udp);
  if (!sockets) return sockets.error();
  listen_port_ = (*sockets)->port();
  adopt_sockets(std::move(*sockets));
  return io::Success{};
}

// Hands the sockets to the workers and closes the old ones; null when the link is down.
void Device::adopt_sockets(std::unique_ptr<io::UdpSockets> sockets) {
  published_.listen_port.store(sockets != nullptr ? sockets->port() : 0, std::memory_order_relaxed);
  for (const auto& worker : workers_)
    worker->adopt_outer(sockets != nullptr ? io::UdpQueue::make(*sockets, options_.udp_engine) : nullptr);
  sockets_ = std::move(sockets);
  forget_sources();
}

void Device::start_peer(DevicePeer& peer) {
  const bool keepalive = peer.peer.start();
  if (keepalive || peer.path.staged.load(std::memory_order_relaxed) > 0) flush_or_keepalive(peer);
  advance(peer);
}

void Device::stop_peer(DevicePeer& peer) {
  retire(peer.peer.stop(*index_table_));
  drop_staged(peer, pipeline::DropReason::handshake_failed);
  reschedule(peer);
}

void Device::drop_staged(DevicePeer& peer, pipeline::DropReason reason) {
  // Waiting for a worker takes a while, and most peers have nothing staged.
  if (peer.path.staged.load(std::memory_order_relaxed) == 0) return;
  pipeline::PeerPath* const path = &peer.path;
  for (const auto& worker : workers_) worker->drop_staged({&path, 1}, reason);
}

// Takes the peer out of everything; its memory goes with reclaim().
void Device::detach_peer(const protocol::PublicKey& public_key) {
  const auto found = by_key_.find(public_key);
  if (found == by_key_.end()) return;
  DevicePeer& peer = *found->second;
  retire(peer.peer.stop(*index_table_));
  reschedule(peer);
  allowed_ips_.remove_all(&peer.path);
  allowed_ips_changed_ = true;
  by_key_.erase(found);
  auto node = peers_.extract(peer.path.id);
  detached_peers_.push_back(std::move(node.mapped()));
}

// After a grace period: no worker routes to these peers any more, but packets may still be staged for them.
void Device::free_detached_peers() {
  if (detached_peers_.empty()) return;
  std::vector<pipeline::PeerPath*> paths;
  for (const auto& peer : detached_peers_) paths.push_back(&peer->path);
  // Also where nothing is staged: a flush that was asked for earlier is over after this.
  for (const auto& worker : workers_) worker->drop_staged(paths, pipeline::DropReason::no_peer);
  detached_peers_.clear();
}

void Device::publish_allowed_ips() {
  if (!allowed_ips_changed_) return;
  allowed_ips_changed_ = false;
  auto copy = std::make_unique<const protocol::AllowedIps>(allowed_ips_);
  published_.allowed_ips.store(copy.get(), std::memory_order_release);
  if (published_allowed_ips_ != nullptr) retired_allowed_ips_.push_back(std::move(published_allowed_ips_));
  published_allowed_ips_ = std::move(copy);
}

void Device::publish_identity() {
  std::unique_ptr<const protocol::Mac1Key> key;
  cookie_checker_.reset();
  if (identity_.exists()) {
    cookie_checker_.emplace(identity_.public_key());
    key = std::make_unique<const protocol::Mac1Key>(identity_.public_key());
  }
  published_.mac1_key.store(key.get(), std::memory_order_release);
  if (mac1_key_ != nullptr) retired_mac1_keys_.push_back(std::move(mac1_key_));
  mac1_key_ = std::move(key);
}

// Before a message is created: it needs an index.
void Device::ensure_free_index() {
  if (!index_table_->full()) return;
  std::unique_ptr<protocol::IndexTable> grown = index_table_->grown();
  published_.index_table.store(grown.get(), std::memory_order_release);
  retired_index_tables_.push_back(std::exchange(index_table_, std::move(grown)));
}

void Device::retire(protocol::RetiredKeypairs retired) {
  for (std::unique_ptr<protocol::Keypair>& keypair : retired) retired_keypairs_.push_back(std::move(keypair));
}

void Device::forget_sources() {
  for (auto& [id, peer] : peers_) {
    // Not a store of our own: a worker may let the peer roam in this very moment.
    peer->path.endpoint.forget_source(peer->path.endpoint.load().source);
    peer->path.gso_refused.store(false, std::memory_order_relaxed);
    peer->kernel_choice.reset();
    if (sockets_ != nullptr) ask_kernel_choice(*peer);
  }
}

void Device::recheck_sources() {
  if (!up_) return;
  for (auto& [id, peer] : peers_) {
    const io::Endpoint endpoint = peer->path.endpoint.load();
    if (!endpoint.valid()) continue;
    peer->path.gso_refused.store(false, std::memory_order_relaxed);
    const std::optional<KernelChoice> before = std::exchange(peer->kernel_choice, std::nullopt);
    ask_kernel_choice(*peer);
    if (!before || !peer->kernel_choice || before->remote != peer->kernel_choice->remote) continue;
    if (before->source != peer->kernel_choice->source) peer->path.endpoint.forget_source(endpoint.source);
  }
}

void Device::ask_kernel_choice(DevicePeer& peer) {
  const io::Endpoint endpoint = peer.path.endpoint.load();
  if (!endpoint.valid()) return;
  peer.kernel_choice = KernelChoice{endpoint.remote, io::preferred_source(endpoint, fwmark_)};
}

// The peer's handshake message came from there.
void Device::follow(DevicePeer& peer, const io::Endpoint& from) {
  peer.path.roam(from);
  // Its source is sticky from now on. Asked only later, we could not tell whether the route has changed since.
  if (!peer.kernel_choice || peer.kernel_choice->remote != from.remote) ask_kernel_choice(peer);
}

Device::DevicePeer* Device::find_peer(const Key& public_key) {
  const auto found = by_key_.find(protocol::PublicKey{public_key});
  return found == by_key_.end() ? nullptr : found->second;
}

Device::DevicePeer* Device::find_peer(protocol::PeerHandle handle) {
  if (handle == nullptr) return nullptr;
  const auto found = peers_.find(static_cast<const pipeline::PeerPath*>(handle)->id);
  return found == peers_.end() ? nullptr : found->second.get();
}

}  // namespace culvert::device
