// Members of groups: who is alive (src/device/liveness.h), and what follows from it. While a member is dead its flows
// go to others, and so do the packets that wait for it.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "crypto/siphash.h"
#include "src/device/device.h"
#include "src/log.h"

namespace culvert::device {
namespace {

// Of silent members, in all groups. When thousands fall silent at once, some are found dead later.
constexpr size_t kAsksPerSecond = 512;

// Belongs to the key, so that a peer that is removed and comes back has the flows that it had.
uint64_t seed_of(const packet::FlowHashKey& key, const protocol::PublicKey& public_key) {
  std::array<uint8_t, sizeof key.words> bytes;
  std::memcpy(bytes.data(), key.words, sizeof key.words);
  return crypto::SipHash(bytes)(public_key.bytes);
}

}  // namespace

int Device::join_group(DevicePeer& peer, const std::string& name) {
  if (!groups_.has_room(name)) return ENOSPC;
  --peers_at_home_[peer.peer.home_slot()];
  peer.peer.set_home_slot(groups_.home_slot_in(name, peer.peer.home_slot()));
  ++peers_at_home_[peer.peer.home_slot()];
  peer.membership = std::make_unique<Membership>();
  groups_.join(peer.path, name, seed_of(published_.flow_key, peer.peer.public_key()), {});
  show_member(peer);
  return 0;
}

// Before the peer's timers are advanced: a wish for an initiation is one of theirs then.
void Device::look_at_member(DevicePeer& peer) {
  const protocol::Timers& timers = peer.peer.timers();
  Liveness& liveness = peer.membership->liveness;
  if (!up_ || !timers.running() || groups_.is_alone(peer.path)) return;
  const protocol::Keypair* const keypair = peer.peer.current_keypair();
  Liveness::Signs signs;
  signs.received_bytes = workers_.traffic_of(peer.path, &pipeline::PeerTraffic::received_bytes);
  signs.sent_bytes = workers_.traffic_of(peer.path, &pipeline::PeerTraffic::sent_bytes);
  signs.unanswered_since = timers.marks().unanswered_since();
  signs.can_send = keypair != nullptr && keypair->usable_for_sending(now_);
  signs.has_endpoint = peer.path.endpoint.load().valid();
  signs.group_has_traffic = groups_.has_traffic(peer.path, now_);
  const Liveness::Wish wish = liveness.look(signs, now_);
  show_member(peer);
  if (liveness.alive() && liveness.has_sent() && groups_.note_traffic(peer.path, now_)) wake_others(peer);
  if (wish == Liveness::Wish::ask && !may_ask()) return;
  if (wish == Liveness::Wish::ask) peer.peer.timers().lift_throttle();
  if (wish != Liveness::Wish::nothing) (void)peer.peer.marks().want_handshake(now_);
}

// Members that are dead or were not called yet: they were left alone while their group was idle.
void Device::wake_others(const DevicePeer& peer) {
  for (pipeline::PeerPath* const path : groups_.members_with(peer.path)) {
    DevicePeer* const other = find_peer(path);
    if (other == nullptr) continue;
    const protocol::Keypair* const keypair = other->peer.current_keypair();
    const bool can_send = keypair != nullptr && keypair->usable_for_sending(now_);
    if (!can_send || !other->membership->liveness.alive()) wake(*other);
  }
}

// Lets workers see it as it is now.
void Device::show_member(DevicePeer& peer) {
  const bool was_alive = groups_.state_of(peer.path).alive;
  const bool alive = peer.membership->liveness.alive();
  const Groups::State state{alive, peer.path.endpoint.load().valid(), peer.peer.home_slot()};
  if (!groups_.set_state(peer.path, state) || alive == was_alive) return;
  log_verbose("{} - {} in group {}", log_name(peer), alive ? "Alive" : "Dead", groups_.name_of(peer.path));
  send_by_others(peer);
}

// What waits for members that are dead is routed again. Also where nothing waits: a worker may be about to stage a
// packet by what it knew before.
void Device::send_by_others(const DevicePeer& peer) {
  const std::vector<pipeline::PeerPath*> members = groups_.members_with(peer.path);
  const auto is_alive = [this](const pipeline::PeerPath* path) { return groups_.state_of(*path).alive; };
  const auto alive = std::count_if(members.begin(), members.end(), is_alive);
  if (alive == 0) return;
  for (pipeline::PeerPath* const path : members)
    if (!is_alive(path) && (path == &peer.path || alive == 1))
      for (const auto& worker : workers_) worker->flush_staged(*path);
}

bool Device::may_ask() {
  if (now_ - asks_since_ >= std::chrono::seconds(1)) {
    asks_since_ = now_;
    asks_ = 0;
  }
  return asks_++ < kAsksPerSecond;
}

// How many workers there are, and which serves a slot.
void Device::tell_groups_of_workers() {
  groups_.set_workers(
      workers_.size(), [this](uint8_t slot) { return workers_.table().worker(slot); });
}

}  // namespace culvert::device
