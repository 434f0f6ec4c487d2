#include <algorithm>
#include <cerrno>

#include "src/config/config.h"

namespace culvert::config {
namespace {

// Applies the settings in wg(8)'s order; the first refusal ends it.
class Applier {
 public:
  explicit Applier(device::Configurable& target) : target_(target) {}

  io::Status apply(const Config& config);

 private:
  bool apply_device(const Config& config);
  bool apply_peer(const ConfigPeer& peer);
  bool accepted(int number, const std::string& action) {
    if (number != 0) error_ = {number, "the device refuses " + action};
    return number == 0;
  }

  bool accepted_port(int number, uint16_t port) {
    const std::string setting = "ListenPort " + std::to_string(port), why = target_.port_refusal();
    if (number != 0 && !why.empty()) {
      error_ = {0, setting + ": " + why};  // which has the number's text
      return false;
    }
    if (number != EADDRINUSE) return accepted(number, setting);
    error_ = {number, setting + " is taken by another program (end it, or choose another ListenPort)"};
    return false;
  }

  bool accepted_source_ports(const io::SourcePorts& ports) {
    const int number = target_.set_source_ports(ports);
    const std::string setting = "SourcePorts " + io::to_string(ports), why = target_.port_refusal();
    if (number == 0 || why.empty()) return accepted(number, setting);
    error_ = {0, setting + ": " + why};
    return false;
  }

  device::Configurable& target_;
  io::Error error_;
};

io::Status Applier::apply(const Config& config) {
  const bool good = apply_device(config) && std::all_of(config.peers.begin(), config.peers.end(),
                                                        [this](const ConfigPeer& peer) { return apply_peer(peer); });
  target_.end_of_operation();
  if (!good) return error_;
  return io::Success{};
}

bool Applier::apply_device(const Config& config) {
  return accepted(target_.set_private_key(config.private_key), "PrivateKey") &&
         accepted_port(target_.set_listen_port(config.listen_port), config.listen_port) &&
         (!config.source_ports || accepted_source_ports(*config.source_ports)) &&
         accepted(target_.set_fwmark(config.fwmark), "FwMark " + std::to_string(config.fwmark)) &&
         accepted(target_.remove_all_peers(), "to forget its peers");
}

bool Applier::apply_peer(const ConfigPeer& peer) {
  const device::Key& key = peer.public_key;
  const std::string name = " of peer " + device::to_base64(key);
  device::PeerOrigin origin = device::PeerOrigin::existing;
  if (!accepted(target_.select_peer(key, origin), "to create the peer " + device::to_base64(key))) return false;
  if (origin == device::PeerOrigin::own_key) return true;
  bool good = peer.preshared_key.is_zero() ||
              accepted(target_.set_preshared_key(key, peer.preshared_key), "PresharedKey" + name);
  good = good && (!peer.endpoint || accepted(target_.set_endpoint(key, *peer.endpoint), "Endpoint" + name));
  good = good && accepted(target_.set_persistent_keepalive(key, peer.persistent_keepalive_seconds),
                          "PersistentKeepalive" + name);
  good = good && accepted(target_.set_peer_source_ports(key, peer.source_ports), "SourcePorts" + name);
  good = good && accepted(target_.clear_allowed_ips(key), "to clear AllowedIPs" + name);
  good = good && accepted(target_.set_group(key, peer.group), "Group " + peer.group + name);  // before it has any
  for (const ConfigAllowedIp& allowed_ip : peer.allowed_ips) {
    const int number = !good               ? 0
                       : allowed_ip.remove ? target_.remove_allowed_ip(key, allowed_ip.prefix)
                                           : target_.add_allowed_ip(key, allowed_ip.prefix);
    good = good && accepted(number, "AllowedIPs" + name);
  }
  if (good) target_.finish_peer(key);
  return good;
}

}  // namespace

io::Status apply_config(const Config& config, device::Configurable& target) {
  return Applier(target).apply(config);
}

}  // namespace culvert::config
