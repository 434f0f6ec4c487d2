// `culvert check`: the plan as lines, and what is missing on this host for it. Changes nothing.

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "src/daemon/tunnel.h"
#include "src/host/firewall.h"
#include "src/host/name_servers.h"
#include "src/host/routes.h"

namespace culvert::daemon {
namespace {

using host::Step;

void add_hooks(std::vector<std::string>& lines, const std::vector<std::string>& hooks, const std::string& name) {
  for (const std::string& hook : hooks) lines.push_back(host::expand_hook(hook, name));
}

std::vector<device::Prefix> allowed_ips_of(const config::Config& config) {
  std::map<device::Key, const config::ConfigPeer*> peers;  // of a peer that is there twice the last section counts
  for (const config::ConfigPeer& peer : config.peers) peers[peer.public_key] = &peer;
  std::vector<device::Prefix> out;
  for (const auto& [key, peer] : peers)
    for (const config::ConfigAllowedIp& allowed_ip : peer->allowed_ips)
      if (!allowed_ip.remove) out.push_back(allowed_ip.prefix);
  return out;
}

bool port_is_taken(uint16_t port) {
  const io::Fd fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  if (fd) return ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno == EADDRINUSE;
  const io::Fd v4(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in plain{};
  plain.sin_family = AF_INET;
  plain.sin_port = htons(port);
  return v4 && ::bind(v4.get(), reinterpret_cast<sockaddr*>(&plain), sizeof plain) != 0 && errno == EADDRINUSE;
}

void look_for_what_is_missing(const std::vector<Step>& steps, const config::Config& config, const std::string& name,
                              std::vector<std::string>& missing) {
  if (::geteuid() != 0) missing.emplace_back("needs root (CAP_NET_ADMIN) to come up");
  if (::access("/dev/net/tun", R_OK | W_OK) != 0)
    missing.emplace_back("/dev/net/tun cannot be opened; run `modprobe tun`, or pass the device into this container");
  if (config.private_key.is_zero())
    missing.emplace_back("there is no PrivateKey; a PostUp command has to set one, or nothing is sent");
  if (config.listen_port != 0 && ::if_nametoindex(name.c_str()) == 0 && port_is_taken(config.listen_port))
    missing.push_back(
        fmt::format("ListenPort {} is taken by another program; end it, or choose another", config.listen_port));
  for (const Step& step : steps) {
    if (step.kind == Step::Kind::dns && host::find_dns_program() == host::DnsProgram::none)
      missing.emplace_back("DNS needs resolvconf or resolvectl: install openresolv or systemd-resolved");
    if (step.kind == Step::Kind::firewall)
      if (const io::Status good = host::check_firewall_table(step.name, step.text); !good)
        missing.push_back(good.error().text());
  }
  for (const std::string& outside : config.host.masquerade)
    if (::if_nametoindex(outside.c_str()) == 0)
      missing.push_back(fmt::format("Masquerade: there is no interface {} now", outside));
}

// Looks at the way to each endpoint; a name is looked up as it would be.
uint32_t widest_path(const config::Config& config, std::vector<std::string>& missing) {
  uint32_t widest = 0;
  for (const config::ConfigPeer& peer : config.peers) {
    std::optional<io::Endpoint> endpoint = peer.endpoint;
    if (peer.endpoint_name) {
      const auto found = config::resolve_endpoint(peer.endpoint_name->host, std::to_string(peer.endpoint_name->port));
      if (found)
        endpoint = *found;
      else
        missing.push_back(fmt::format("Endpoint {} cannot be resolved now ({}); it would be tried again",
                                      peer.endpoint_name->host, found.error().text()));
    }
    if (endpoint) widest = std::max(widest, host::path_mtu(endpoint->remote));
  }
  return widest != 0 ? widest : host::default_route_mtu();
}

}  // namespace

Inspection inspect(const TunnelFile& file, const config::Config& config) {
  Inspection out;
  host::Facts facts;
  facts.interface_name = file.name;
  facts.fwmark = config.fwmark;
  facts.ipv6 = ::access("/proc/sys/net/ipv6", F_OK) == 0;
  facts.automatic_mark = 51820;
  while (!host::is_empty_table(facts.automatic_mark)) ++facts.automatic_mark;
  facts.path_mtu = widest_path(config, out.missing);
  facts.router_interfaces = host::interfaces_of_routers(config.host.masquerade);
  const std::vector<Step> steps = host::plan(config.host, facts, allowed_ips_of(config));
  add_hooks(out.plan, config.host.pre_up, file.name);
  for (const Step& step : steps) out.plan.push_back(host::describe(step, file.name));
  add_hooks(out.plan, config.host.post_up, file.name);
  look_for_what_is_missing(steps, config, file.name, out.missing);
  return out;
}

}  // namespace culvert::daemon
