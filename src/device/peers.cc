// How a peer starts, stops and leaves, and how it is found.

#include <algorithm>
#include <utility>

#include "src/device/device.h"
#include "src/device/encoding.h"
#include "src/log.h"

namespace culvert::device {

// What there is to say to the peer is said in its turn: thousands may start at once.
void Device::start_peer(DevicePeer& peer) {
  peer.sign_of_life_due |= peer.peer.start() || peer.path.staged.load(std::memory_order_relaxed) > 0;
  if (peer.sign_of_life_due) wake(peer);
}

void Device::stop_peer(DevicePeer& peer) {
  retire(peer.peer.stop(*index_table_));
  peer.awake_since.reset();
  peer.sign_of_life_due = false;
  if (peer.membership != nullptr) {
    *peer.membership = {};
    show_member(peer);
  }
  reschedule(peer);
}

// Workers count by these numbers; one is free again once no worker can hold its peer. Nothing: an operation has removed
// and added too many peers.
std::optional<uint32_t> Device::take_peer_number() {
  if (free_peer_numbers_.empty()) {
    if (next_peer_number_ == pipeline::PeerTrafficTable::kMaxNumbers) return std::nullopt;
    return next_peer_number_++;
  }
  const uint32_t number = free_peer_numbers_.back();
  free_peer_numbers_.pop_back();
  return number;
}

void Device::give_back_peer_number(uint32_t number) {
  workers_.forget_traffic(number);
  free_peer_numbers_.push_back(number);
}

// One of those with the fewest peers: workers serve slots, and neighbouring slots are those of different workers.
uint8_t Device::take_home_slot() {
  const auto emptiest = std::min_element(peers_at_home_.begin(), peers_at_home_.end());
  ++*emptiest;
  return static_cast<uint8_t>(emptiest - peers_at_home_.begin());
}

// Our key is another one. The shared secret with the peer's costs an X25519: know_identity() computes it when it is
// needed, since all peers at once would take a second.
void Device::forget_identity(DevicePeer& peer) {
  (void)peer.peer.set_identity(protocol::StaticIdentity(), *index_table_);
  peer.knows_identity = false;
  reschedule(peer);
}

// Before a handshake message of the peer is created or consumed.
void Device::know_identity(DevicePeer& peer) {
  if (std::exchange(peer.knows_identity, true)) return;
  if (!peer.peer.set_identity(identity_, *index_table_) && identity_.exists())
    log_error("{} - Its public key is of low order and shares no secret with ours: no handshake is possible",
              log_name(peer));
}

// Takes the peer out of everything; its memory goes with reclaim().
void Device::detach_peer(const protocol::PublicKey& public_key) {
  const auto found = by_key_.find(public_key);
  if (found == by_key_.end()) return;
  DevicePeer& peer = *found->second;
  stop_peer(peer);
  groups_.remove_all(peer.path);
  groups_.leave(peer.path);
  by_key_.erase(found);
  --peers_at_home_[peer.peer.home_slot()];
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
  const auto found = peers_.find(pipeline::path_of(handle)->id);
  return found == peers_.end() ? nullptr : found->second.get();
}

size_t Device::walk_peers(PeerWalk& walk, size_t budget, const std::function<size_t(DevicePeer&)>& visit) {
  auto at = walk.wanted() ? peers_.lower_bound(*walk.next_id) : peers_.end();
  for (; at != peers_.end() && budget > 0; ++at) budget -= std::min(budget, visit(*at->second));
  if (!walk.wanted()) return budget;
  if (at != peers_.end())
    walk.next_id = at->first;
  else
    walk.next_id = std::exchange(walk.again, false) ? std::optional<uint64_t>(0) : std::nullopt;
  return budget;
}

}  // namespace culvert::device
