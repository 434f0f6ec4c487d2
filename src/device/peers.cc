// How a peer starts, stops and leaves, and how it is found.

#include <utility>

#include "src/device/device.h"
#include "src/device/encoding.h"

namespace culvert::device {

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

// As wireguard-go names peers.
std::string Device::log_name(const DevicePeer& peer) {
  return "peer(" + short_name(peer.peer.public_key().bytes) + ")";
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
