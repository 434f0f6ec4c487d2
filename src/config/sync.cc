// A new configuration over a running one: the difference alone, so that no keypair is lost that need not be.

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <tuple>

#include "src/config/config.h"

namespace culvert::config {
namespace {

struct PrefixOrder {
  bool operator()(const device::Prefix& a, const device::Prefix& b) const {
    return std::tie(a.version, a.cidr, a.address) < std::tie(b.version, b.cidr, b.address);
  }
};
using Prefixes = std::set<device::Prefix, PrefixOrder>;

// What the lines of one peer come to.
Prefixes final_allowed_ips(const ConfigPeer& peer) {
  Prefixes out;
  for (const ConfigAllowedIp& allowed_ip : peer.allowed_ips)
    if (allowed_ip.remove)
      out.erase(allowed_ip.prefix);
    else
      out.insert(allowed_ip.prefix);
  return out;
}

class Synchronizer {
 public:
  Synchronizer(const Config& before, const device::DeviceState& now, device::Configurable& target)
      : now_(now), target_(target), before_(before) {
    for (const ConfigPeer& peer : before.peers) old_.insert_or_assign(peer.public_key, &peer);
    for (const device::PeerState& peer : now.peers) live_.emplace(peer.public_key, &peer);
  }

  io::Status sync(const Config& after) {
    const bool good = sync_device(after) && sync_peers(after);
    target_.end_of_operation();
    if (!good) return error_;
    return io::Success{};
  }

 private:
  bool sync_device(const Config& after);
  bool sync_peers(const Config& after);
  bool sync_peer(const ConfigPeer& peer);
  bool sync_allowed_ips(const ConfigPeer& peer, const device::PeerState* live);
  bool accepted(int number, const std::string& action) {
    if (number != 0) error_ = {number, "the device refuses " + action};
    return number == 0;
  }

  const device::DeviceState& now_;
  device::Configurable& target_;
  const Config& before_;
  std::map<device::Key, const ConfigPeer*> old_;
  std::map<device::Key, const device::PeerState*> live_;
  io::Error error_;
};

bool Synchronizer::sync_device(const Config& after) {
  // The port first: it is what may be refused, and then nothing has changed.
  if (after.listen_port != before_.listen_port && after.listen_port != now_.listen_port) {
    const int number = target_.set_listen_port(after.listen_port);
    const std::string setting = "ListenPort " + std::to_string(after.listen_port);
    if (!accepted(number, setting)) {
      if (number == EADDRINUSE) error_ = {number, setting + " is taken by another program"};
      return false;
    }
  }
  const io::SourcePorts ports = after.source_ports.value_or(now_.source_ports);
  if (after.source_ports != before_.source_ports && !(ports == now_.source_ports)) {
    const int number = target_.set_source_ports(ports);
    const std::string why = target_.port_refusal();
    if (!accepted(number, "SourcePorts " + io::to_string(ports))) {
      if (!why.empty()) error_ = {0, "SourcePorts " + io::to_string(ports) + ": " + why};
      return false;
    }
  }
  if (after.fwmark != before_.fwmark &&
      !accepted(target_.set_fwmark(after.fwmark), "FwMark " + std::to_string(after.fwmark)))
    return false;
  if (after.workers != before_.workers && after.workers && after.workers->count &&
      !accepted(target_.set_workers(static_cast<uint32_t>(*after.workers->count)), "Workers"))
    return false;
  return after.private_key == now_.private_key || accepted(target_.set_private_key(after.private_key), "PrivateKey");
}

bool Synchronizer::sync_peers(const Config& after) {
  std::map<device::Key, const ConfigPeer*> wanted;  // of several sections for one key the last one counts
  for (const ConfigPeer& peer : after.peers) wanted.insert_or_assign(peer.public_key, &peer);
  for (const auto& [key, peer] : live_)
    if (!wanted.contains(key) && !accepted(target_.remove_peer(key), "to remove a peer")) return false;
  return std::all_of(wanted.begin(), wanted.end(), [this](const auto& entry) { return sync_peer(*entry.second); });
}

bool Synchronizer::sync_peer(const ConfigPeer& peer) {
  const device::Key& key = peer.public_key;
  const std::string name = " of peer " + device::to_base64(key);
  const auto live_at = live_.find(key);
  const device::PeerState* const live = live_at == live_.end() ? nullptr : live_at->second;
  const auto old_at = old_.find(key);
  const ConfigPeer* const old = old_at == old_.end() ? nullptr : old_at->second;
  device::PeerOrigin origin = device::PeerOrigin::existing;
  if (!accepted(target_.select_peer(key, origin), "to create the peer " + device::to_base64(key))) return false;
  if (origin == device::PeerOrigin::own_key) return true;
  bool good = (live != nullptr ? live->preshared_key == peer.preshared_key : peer.preshared_key.is_zero()) ||
              accepted(target_.set_preshared_key(key, peer.preshared_key), "PresharedKey" + name);
  // An endpoint that is written as before stays where the peer has roamed to.
  if (good && peer.endpoint && (old == nullptr || live == nullptr || old->endpoint != peer.endpoint))
    good = accepted(target_.set_endpoint(key, *peer.endpoint), "Endpoint" + name);
  if (good && (live == nullptr || live->persistent_keepalive_seconds != peer.persistent_keepalive_seconds))
    good = accepted(target_.set_persistent_keepalive(key, peer.persistent_keepalive_seconds),
                    "PersistentKeepalive" + name);
  if (good && (live == nullptr || live->source_ports != peer.source_ports))
    good = accepted(target_.set_peer_source_ports(key, peer.source_ports), "SourcePorts" + name);
  if (good && (live == nullptr || live->group != peer.group))  // before it has allowed IPs
    good = accepted(target_.set_group(key, peer.group), "Group " + peer.group + name);
  good = good && sync_allowed_ips(peer, live);
  if (good) target_.finish_peer(key);
  return good;
}

bool Synchronizer::sync_allowed_ips(const ConfigPeer& peer, const device::PeerState* live) {
  const Prefixes wanted = final_allowed_ips(peer);
  Prefixes had;
  if (live != nullptr) had.insert(live->allowed_ips.begin(), live->allowed_ips.end());
  for (const device::Prefix& prefix : wanted)
    if (!had.contains(prefix) && !accepted(target_.add_allowed_ip(peer.public_key, prefix), "AllowedIPs of a peer"))
      return false;
  return std::all_of(had.begin(), had.end(), [&](const device::Prefix& prefix) {
    return wanted.contains(prefix) ||
           accepted(target_.remove_allowed_ip(peer.public_key, prefix), "to remove AllowedIPs");
  });
}

}  // namespace

io::Status sync_config(const Config& before, const Config& after, const device::DeviceState& now,
                       device::Configurable& target) {
  return Synchronizer(before, now, target).sync(after);
}

}  // namespace culvert::config
