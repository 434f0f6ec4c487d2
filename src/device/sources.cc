// Sticky sources: a peer is answered from the address that it called (IP_PKTINFO), until the kernel would send to it
// another way than before. Which way that is has to be asked for each peer, so it is asked when a source becomes
// sticky, and after a change of routes for all of those peers, some in each turn.

#include <algorithm>
#include <chrono>
#include <utility>

#include "src/device/device.h"

namespace culvert::device {
namespace {

// Of one turn: a peer that is passed by costs 1. Together less than half a millisecond.
constexpr size_t kWalkBudget = 1024;
constexpr size_t kQuestionCost = 8;

// Between two walks: where routes change all the time, asking takes a tenth of ours.
constexpr protocol::Duration kLeastPause = std::chrono::milliseconds(100);
constexpr int kPausePerWalk = 9;

// How long a peer may call us at an address that we have left: it has not heard yet from where we send now.
constexpr protocol::Duration kMayBeOnItsWay = std::chrono::seconds(5);

}  // namespace

void Device::forget_sources() {
  for (auto& [id, peer] : peers_) {
    // Not a store of our own: a worker may let the peer roam in this very moment.
    peer->path.endpoint.forget_source(peer->path.endpoint.load().source);
    peer->path.gso_refused.store(false, std::memory_order_relaxed);
    peer->known_route.reset();
    peer->left_source.reset();
  }
}

// Many changes come at once, and more during a walk: one more walk is for all of them.
void Device::recheck_sources() {
  sources_changed_ = true;
}

void Device::recheck_some_sources() {
  if (!up_) sources_changed_ = false;
  if (sources_changed_ && now_ >= next_source_walk_) {
    sources_changed_ = false;
    if (!source_walk_.wanted()) source_walk_began_ = now_;
    source_walk_.request();
  }
  if (!source_walk_.wanted()) return;
  (void)walk_peers(source_walk_, kWalkBudget, [this](DevicePeer& peer) { return recheck_source(peer); });
  next_source_walk_ = now_ + std::max<protocol::Duration>(kLeastPause, kPausePerWalk * (now_ - source_walk_began_));
}

std::optional<protocol::Instant> Device::next_source_check() const {
  if (source_walk_.wanted()) return now_;
  if (sources_changed_) return next_source_walk_;
  return std::nullopt;
}

size_t Device::recheck_source(DevicePeer& peer) {
  const io::Endpoint endpoint = peer.path.endpoint.load();
  const bool sticky = endpoint.source.family != io::Family::none;
  const bool narrow = peer.path.gso_refused.load(std::memory_order_relaxed);
  if (!up_ || !endpoint.valid() || (!sticky && !narrow)) return 1;
  const std::optional<KnownRoute> before = std::exchange(peer.known_route, std::nullopt);
  learn_route(peer, endpoint);
  if (before && before->remote == endpoint.remote && before->choice != peer.known_route->choice) {
    if (before->choice.source != peer.known_route->choice.source) {
      peer.left_source = LeftSource{endpoint.remote, endpoint.source, now_ + kMayBeOnItsWay};
      peer.path.endpoint.forget_source(endpoint.source);
    }
    peer.path.gso_refused.store(false, std::memory_order_relaxed);
  }
  return kQuestionCost;
}

// Asked only after a change, it would not tell whether the way has changed since.
void Device::learn_route(DevicePeer& peer, const io::Endpoint& endpoint) {
  if (!endpoint.valid() || (peer.known_route && peer.known_route->remote == endpoint.remote)) return;
  peer.known_route = KnownRoute{endpoint.remote, route_probe_.ask(endpoint, fwmark_)};
}

// A worker follows whatever is authentic, also what was on its way to the source that we have left. With that we would
// stay there for good, so it is left again, and the peer told by a keepalive from the new one: data of its own may be
// all that there is.
void Device::attend_roaming(DevicePeer& peer) {
  const io::Endpoint endpoint = peer.path.endpoint.load();
  learn_route(peer, endpoint);
  if (!peer.left_source) return;
  LeftSource& left = *peer.left_source;
  if (left.until <= now_ || left.remote != endpoint.remote) return peer.left_source.reset();
  if (left.source != endpoint.source) return;
  peer.path.endpoint.forget_source(left.source);
  if (!std::exchange(left.told, true)) flush_or_keepalive(peer);
}

// The peer's handshake message came from there.
void Device::follow(DevicePeer& peer, const pipeline::HandshakeDatagram& datagram) {
  peer.left_source.reset();
  peer.rival.reset();
  peer.path.follow_handshake(datagram.from);
  peer.path.asked_at(datagram.local_port, local_ports());
  learn_route(peer, datagram.from);
}

}  // namespace culvert::device
