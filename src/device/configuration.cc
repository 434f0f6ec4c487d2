// Configuration in and state out: the device as UAPI sees it.

#include <cerrno>
#include <chrono>
#include <utility>

#include "src/device/device.h"
#include "src/log.h"

namespace culvert::device {

int Device::set_private_key(const SecretKey& private_key) {
  protocol::StaticIdentity identity{private_key.clone()};
  if (identity.exists() == identity_.exists() &&
      (!identity.exists() || identity.private_key() == identity_.private_key()))
    return 0;
  if (identity.exists()) detach_peer(identity.public_key());
  identity_ = std::move(identity);
  publish_identity();
  for (auto& [id, peer] : peers_) forget_identity(*peer);
  return 0;
}

int Device::set_listen_port(uint16_t port) {
  if (up_ && port == listen_port_) return 0;
  return bind_anew(port);
}

int Device::set_source_ports(const io::SourcePorts& ports) {
  if (ports == source_ports_) return 0;
  const io::SourcePorts before = std::exchange(source_ports_, ports);
  if (const int number = bind_anew(listen_port_); number != 0) {
    source_ports_ = before;
    return number;
  }
  for (auto& [id, peer] : peers_) spread(*peer);
  return 0;
}

// What it was stays after an error.
int Device::bind_anew(uint16_t port) {
  const uint16_t before = listen_port_;
  io::Status bound = io::Success{};
  if (up_) {
    bound = open_sockets(port);
  } else {
    listen_port_ = port;
    bound = link_up_ ? bring_up() : try_ports(port);
    if (!bound) listen_port_ = before;
  }
  port_refusal_ = bound ? "" : bound.error().text();
  return bound ? 0 : bound.error().number;
}

int Device::set_fwmark(uint32_t mark) {
  if (sockets_ != nullptr) {
    if (const io::Status set = sockets_->set_fwmark(mark); !set) return set.error().number;
  }
  fwmark_ = mark;
  forget_sources();
  if (link_up_ && !up_) (void)bring_up();  // the old mark may have been what was refused
  return 0;
}

int Device::remove_all_peers() {
  for (const auto& [key, peer] : by_key_)
    if (peer->membership != nullptr) groups_before_[key] = groups_.name_of(peer->path);
  while (!by_key_.empty()) detach_peer(protocol::PublicKey(by_key_.begin()->first));
  return 0;
}

int Device::select_peer(const Key& public_key, PeerOrigin& origin) {
  if (identity_.exists() && identity_.public_key().bytes == public_key) {
    origin = PeerOrigin::own_key;
    return 0;
  }
  if (find_peer(public_key) != nullptr) {
    origin = PeerOrigin::existing;
    return 0;
  }
  const std::optional<uint32_t> number = peers_.size() < protocol::kMaxPeers ? take_peer_number() : std::nullopt;
  if (!number) return ENOBUFS;
  const protocol::PublicKey key{public_key};
  const uint64_t id = next_peer_id_++;
  auto peer = std::make_unique<DevicePeer>(id, *number, key, take_home_slot());
  spread(*peer);
  by_key_[key] = peer.get();
  DevicePeer& created = *(peers_[id] = std::move(peer));
  origin = PeerOrigin::created;
  const auto before = groups_before_.find(key);
  return before != groups_before_.end() ? join_group(created, before->second) : 0;
}

int Device::remove_peer(const Key& public_key) {
  detach_peer(protocol::PublicKey{public_key});
  return 0;
}

int Device::set_preshared_key(const Key& public_key, const SecretKey& preshared_key) {
  if (DevicePeer* const peer = find_peer(public_key)) peer->peer.set_preshared_key(preshared_key.clone());
  return 0;
}

int Device::set_endpoint(const Key& public_key, const io::Endpoint& endpoint) {
  DevicePeer* const peer = find_peer(public_key);
  if (peer == nullptr) return 0;
  // The source goes also where the address stays: whoever sets it wants a fresh route.
  peer->path.endpoint.store(endpoint);
  peer->endpoint_configured = true;
  spread(*peer);
  peer->path.gso_refused.store(false, std::memory_order_relaxed);
  peer->known_route.reset();
  peer->left_source.reset();
  peer->rival.reset();
  return 0;
}

void Device::try_endpoint(const Key& public_key, const io::Endpoint& endpoint,
                          const std::optional<io::Endpoint>& rival) {
  (void)set_endpoint(public_key, endpoint);
  DevicePeer* const peer = find_peer(public_key);
  if (peer == nullptr) return;
  if (rival) peer->rival = std::make_unique<const io::Endpoint>(*rival);
  if (!up_ || !peer->peer.timers().running()) return;
  peer->sign_of_life_due |= peer->keepalive_seconds != 0 || peer->path.staged.load(std::memory_order_relaxed) > 0;
  if (peer->sign_of_life_due) wake(*peer);
}

int Device::set_persistent_keepalive(const Key& public_key, uint16_t seconds) {
  DevicePeer* const peer = find_peer(public_key);
  if (peer == nullptr) return 0;
  peer->keepalive_seconds = seconds;
  peer->keepalive_promised |= peer->peer.timers().set_persistent_keepalive(std::chrono::seconds(seconds));
  reschedule(*peer);
  return 0;
}

int Device::set_peer_source_ports(const Key& public_key, uint16_t count) {
  DevicePeer* const peer = find_peer(public_key);
  if (peer == nullptr) return 0;
  peer->source_ports = count;
  spread(*peer);
  return 0;
}

// Has the workers spread the peer's flows, and those that it sends us over our workers, from the next handshake on. A
// peer that only ever called us may be behind a NAT or a firewall, which lets in answers from the port that it called
// and from no other: the ports of the device are not for it, unless it is given some itself.
void Device::spread(DevicePeer& peer) {
  const uint16_t all = source_ports_.count > 1 && peer.endpoint_configured ? UINT16_MAX : 1;
  const uint16_t count = peer.source_ports != 0 ? peer.source_ports : all;
  peer.path.source_ports.store(count, std::memory_order_relaxed);
  peer.peer.set_spread(count > 1);
}

int Device::set_group(const Key& public_key, const std::string& name) {
  DevicePeer* const peer = find_peer(public_key);
  if (peer == nullptr || groups_.name_of(peer->path) == name) return 0;
  if (!name.empty()) return join_group(*peer, name);
  groups_.leave(peer->path);
  peer->membership.reset();
  return 0;
}

int Device::clear_allowed_ips(const Key& public_key) {
  if (DevicePeer* const peer = find_peer(public_key)) groups_.remove_all(peer->path);
  return 0;
}

int Device::add_allowed_ip(const Key& public_key, const Prefix& prefix) {
  DevicePeer* const peer = find_peer(public_key);
  return peer == nullptr || groups_.add(peer->path, prefix) ? 0 : EINVAL;
}

int Device::remove_allowed_ip(const Key& public_key, const Prefix& prefix) {
  if (DevicePeer* const peer = find_peer(public_key)) groups_.remove(peer->path, prefix);
  return 0;
}

void Device::finish_peer(const Key& public_key) {
  DevicePeer* const peer = find_peer(public_key);
  if (peer == nullptr) return;
  if (peer->membership != nullptr) show_member(*peer);
  if (!up_) return;
  const bool keepalive = std::exchange(peer->keepalive_promised, false);
  if (!peer->peer.timers().running()) return start_peer(*peer);
  // What is staged is routed again, but not before the allowed IPs of the whole operation are published.
  peer->sign_of_life_due |= keepalive || peer->path.staged.load(std::memory_order_relaxed) > 0;
  if (peer->sign_of_life_due) wake(*peer);
}

void Device::end_of_operation() {
  ++operations_;
  groups_before_.clear();
  reclaim();
  excuse_waiting_handshakes();
}

std::optional<PeerContact> Device::contact(const Key& public_key) const {
  const auto at = by_key_.find(protocol::PublicKey{public_key});
  if (at == by_key_.end()) return std::nullopt;
  const DevicePeer& peer = *at->second;
  return PeerContact{peer.path.endpoint.load(), peer.peer.last_handshake(),
                     peer.peer.timers().handshake_attempts() > 0};
}

DeviceState Device::state() const {
  DeviceState state;
  state.private_key = identity_.private_key().clone();
  if (up_ || !link_up_) state.listen_port = listen_port_;
  state.source_ports = source_ports_;
  state.fwmark = fwmark_;
  if (workers_.insisted()) state.workers = static_cast<uint32_t>(workers_.size());
  state.peers.reserve(peers_.size());
  for (const auto& [id, peer] : peers_) {
    PeerState& out = state.peers.emplace_back();
    out.public_key = peer->peer.public_key().bytes;
    out.preshared_key = peer->peer.preshared_key().clone();
    const io::Endpoint endpoint = peer->path.endpoint.load();
    if (endpoint.valid()) out.endpoint = endpoint;
    if (const std::optional<protocol::WallTime> last = peer->peer.last_handshake()) {
      const auto since_epoch = last->time_since_epoch();
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
      out.last_handshake_seconds = static_cast<uint64_t>(seconds.count());
      out.last_handshake_nanoseconds = static_cast<uint32_t>((since_epoch - seconds).count());
    }
    out.sent_bytes = workers_.traffic_of(peer->path, &pipeline::PeerTraffic::sent_bytes);
    out.received_bytes = workers_.traffic_of(peer->path, &pipeline::PeerTraffic::received_bytes);
    out.persistent_keepalive_seconds = peer->keepalive_seconds;
    out.source_ports = peer->source_ports;
    out.group = groups_.name_of(peer->path);
    groups_.for_each(peer->path, [&](const Prefix& prefix) { out.allowed_ips.push_back(prefix); });
  }
  return state;
}

}  // namespace culvert::device
