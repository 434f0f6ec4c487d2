// Sticky sources: a peer is answered from the address that it called, until the kernel's routes say otherwise.

#include <utility>

#include "src/device/device.h"

namespace culvert::device {

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

}  // namespace culvert::device
