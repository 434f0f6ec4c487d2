// SaveConfig: the file anew, from what the interface has now.

#include <fmt/format.h>

#include <iterator>
#include <map>

#include "src/config/config.h"

namespace culvert::config {
namespace {

template <typename... Args>
void line(crypto::SecretString& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
  out += '\n';
}

void key_line(crypto::SecretString& out, const char* name, const device::SecretKey& key) {
  out += name;
  out += " = ";
  device::append_base64(out, key);
  out += '\n';
}

void print_host(crypto::SecretString& out, const host::Settings& host) {
  for (const device::Prefix& address : host.addresses) line(out, "Address = {}", device::to_string(address));
  for (const std::string& server : host.dns_servers) line(out, "DNS = {}", server);
  for (const std::string& domain : host.dns_search) line(out, "DNS = {}", domain);
  if (host.mtu) line(out, "MTU = {}", *host.mtu);
  if (host.table.kind == host::TableChoice::Kind::off) line(out, "Table = off");
  if (host.table.kind == host::TableChoice::Kind::number)
    line(out, "Table = {}", host.table.name.empty() ? std::to_string(host.table.number) : host.table.name);
  if (host.save) line(out, "SaveConfig = true");
  if (host.forward) line(out, "Forward = yes");
  for (const std::string& outside : host.masquerade) line(out, "Masquerade = {}", outside);
  for (const std::string& hook : host.pre_up) line(out, "PreUp = {}", hook);
  for (const std::string& hook : host.post_up) line(out, "PostUp = {}", hook);
  for (const std::string& hook : host.pre_down) line(out, "PreDown = {}", hook);
  for (const std::string& hook : host.post_down) line(out, "PostDown = {}", hook);
}

void print_peer(crypto::SecretString& out, const device::PeerState& peer, const ConfigPeer* was) {
  out += "\n[Peer]\n";
  line(out, "PublicKey = {}", device::to_base64(peer.public_key));
  if (!peer.preshared_key.is_zero()) key_line(out, "PresharedKey", peer.preshared_key);
  if (!peer.group.empty()) line(out, "Group = {}", peer.group);
  if (!peer.allowed_ips.empty()) {
    out += "AllowedIPs = ";
    for (size_t i = 0; i < peer.allowed_ips.size(); ++i) {
      if (i > 0) out += ", ";
      device::append_prefix(out, peer.allowed_ips[i]);
    }
    out += '\n';
  }
  // A name stays a name: the address behind it may be another tomorrow.
  if (was != nullptr && was->endpoint_name)
    line(out, "Endpoint = {}:{}", was->endpoint_name->host, was->endpoint_name->port);
  else if (peer.endpoint)
    line(out, "Endpoint = {}", io::to_string(*peer.endpoint));
  if (peer.persistent_keepalive_seconds != 0) line(out, "PersistentKeepalive = {}", peer.persistent_keepalive_seconds);
  if (peer.source_ports != 0) line(out, "SourcePorts = {}", peer.source_ports);
}

}  // namespace

crypto::SecretString print_config(const Config& config, const device::DeviceState& now) {
  crypto::SecretString out;
  out += "[Interface]\n";
  print_host(out, config.host);
  if (config.workers) line(out, "Workers = {}", device::to_string(*config.workers));
  if (!config.short_queues) line(out, "ShortQueues = false");
  if (config.source_ports) line(out, "SourcePorts = {}", io::to_string(*config.source_ports));
  if (config.resolve_every) line(out, "Resolve = {}s", config.resolve_every->count());
  if (now.listen_port != 0) line(out, "ListenPort = {}", now.listen_port);
  if (now.fwmark != 0) line(out, "FwMark = {:#x}", now.fwmark);
  if (!now.private_key.is_zero()) key_line(out, "PrivateKey", now.private_key);
  std::map<device::Key, const ConfigPeer*> configured;
  for (const ConfigPeer& peer : config.peers) configured.insert_or_assign(peer.public_key, &peer);
  for (const device::PeerState& peer : now.peers) {
    const auto at = configured.find(peer.public_key);
    print_peer(out, peer, at == configured.end() ? nullptr : at->second);
  }
  return out;
}

}  // namespace culvert::config
