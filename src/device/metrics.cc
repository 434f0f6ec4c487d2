#include "src/device/metrics.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "crypto/aead_engine.h"
#include "src/device/device.h"

namespace culvert::device {

Metrics Device::metrics() const {
  Metrics metrics;
  metrics.name = options_.name;
  metrics.aead_engine = crypto::engine_name();
  metrics.peers = peers_.size();
  metrics.link_up = up_;
  metrics.tun_engine = options_.tun_engine;
  io::add_counters(stats_, kControlCounters, metrics.control);

  io::OuterState& outer = metrics.outer_state;
  outer.engine = io::chosen_engine(options_.udp_engine);
  outer.gso_active = outer.gro_active = metrics.tun_tcp = metrics.tun_udp = !workers_.empty();
  metrics.workers_now = workers_.size();
  metrics.workers_serving = workers_.serving();
  metrics.workers = workers_.metrics();
  metrics.outer = workers_.outer_counters();
  metrics.inner = workers_.inner_counters();
  if (sockets_ != nullptr)
    for (size_t i = 0; i < sockets_->ports().size(); ++i)
      metrics.ports.push_back({sockets_->ports()[i], sockets_->datagrams_sent(i)});
  if (options_.outer != nullptr) metrics.outer_device = options_.outer->counts();
  metrics.inner_device = workers_.inner_device_counts();
  for (const auto& worker : workers_) {
    const io::OuterState one = worker->outer_state();
    if (one.engine != io::Engine::automatic) outer.engine = one.engine;
    outer.gso_active &= one.gso_active;
    outer.gro_active &= one.gro_active;
    const io::InnerOffloads inner = worker->inner_offloads();
    metrics.tun_tcp &= inner.tcp4 && inner.tcp6;
    metrics.tun_udp &= inner.udp4 && inner.udp6;
  }
  metrics.groups = group_metrics();
  return metrics;
}

PeerSlice Device::peer_metrics(uint64_t from, size_t most) const {
  PeerSlice slice;
  slice.peers.reserve(std::min(most, peers_.size()));
  for (auto at = peers_.lower_bound(from); at != peers_.end(); ++at) {
    if (slice.peers.size() == most) {
      slice.next = at->first;
      break;
    }
    const auto& peer = at->second;
    PeerMetrics& metrics = slice.peers.emplace_back();
    metrics.public_key = peer->peer.public_key().bytes;
    if (const io::Endpoint endpoint = peer->path.endpoint.load(); endpoint.valid()) metrics.endpoint = endpoint;
    metrics.received_bytes = workers_.traffic_of(peer->path, &pipeline::PeerTraffic::received_bytes);
    metrics.sent_bytes = workers_.traffic_of(peer->path, &pipeline::PeerTraffic::sent_bytes);
    metrics.expected_messages = peer->reception_before.expected;
    metrics.received_messages = peer->reception_before.admitted;
    const protocol::Keypairs& keypairs = peer->peer.keypairs();
    for (const protocol::Keypair* keypair :
         std::array<const protocol::Keypair*, 3>{keypairs.previous(), keypairs.next(), keypairs.current()}) {
      if (keypair == nullptr) continue;
      const protocol::ReplayWindow::Reception reception = keypair->reception();
      metrics.expected_messages += reception.expected;
      metrics.received_messages += reception.admitted;
    }
    using std::chrono::duration_cast, std::chrono::seconds;
    if (const auto last = peer->peer.last_handshake())
      metrics.last_handshake_seconds = duration_cast<seconds>(last->time_since_epoch()).count();
    if (const protocol::Keypair* const current = peer->peer.current_keypair())
      metrics.keypair_age = duration_cast<seconds>(now_ - current->created());
  }
  return slice;
}

std::vector<GroupMetrics> Device::group_metrics() const {
  std::vector<GroupMetrics> groups;
  size_t left = kMaxMemberMetrics;
  groups_.for_each_group([&](const std::string& name, const std::vector<pipeline::PeerPath*>& members) {
    if (members.size() > left) return;
    left -= members.size();
    GroupMetrics& group = groups.emplace_back();
    group.name = name;
    for (const pipeline::PeerPath* const path : members) {
      const DevicePeer& peer = *peers_.at(path->id);
      group.members.push_back(
          {.public_key = to_base64(peer.peer.public_key().bytes),
           .alive = groups_.state_of(*path).alive,
           .sent_bytes = workers_.traffic_of(peer.path, &pipeline::PeerTraffic::sent_bytes),
           .received_bytes = workers_.traffic_of(peer.path, &pipeline::PeerTraffic::received_bytes)});
    }
  });
  return groups;
}

}  // namespace culvert::device
