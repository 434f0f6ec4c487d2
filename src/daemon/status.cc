#include "src/daemon/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "src/protocol/keys.h"

namespace culvert::daemon {
namespace {

using Json = nlohmann::ordered_json;
using Kind = host::Step::Kind;

// Of the peers whose endpoint is written as a name.
class EndpointNamesOf {
 public:
  explicit EndpointNamesOf(const config::Config& config) {
    for (const config::ConfigPeer& peer : config.peers)
      if (peer.endpoint_name)
        names_[peer.public_key] = fmt::format("{}:{}", peer.endpoint_name->host, peer.endpoint_name->port);
  }
  // "" if it is no name.
  std::string of(const device::Key& peer) const {
    const auto at = names_.find(peer);
    return at == names_.end() ? "" : at->second;
  }

 private:
  std::map<device::Key, std::string> names_;
};

std::vector<std::string> texts_of(const std::vector<device::Prefix>& prefixes) {
  std::vector<std::string> out;
  out.reserve(prefixes.size());
  for (const device::Prefix& prefix : prefixes) out.push_back(device::to_string(prefix));
  return out;
}

std::string text_of_peer(const device::PeerState& peer, const std::string& name) {
  std::string out = fmt::format("\npeer: {}\n", device::to_base64(peer.public_key));
  const std::string address = peer.endpoint ? io::to_string(*peer.endpoint) : name.empty() ? "" : "not found yet";
  if (!name.empty())
    out += fmt::format("  endpoint: {} ({})\n", name, address);
  else if (!address.empty())
    out += fmt::format("  endpoint: {}\n", address);
  if (!peer.group.empty()) out += fmt::format("  group: {}\n", peer.group);
  out += fmt::format("  allowed ips: {}\n", fmt::join(texts_of(peer.allowed_ips), ", "));
  if (peer.last_handshake_seconds != 0)
    out += fmt::format("  latest handshake: {} s ago\n",
                       std::max<int64_t>(0, std::time(nullptr) - static_cast<int64_t>(peer.last_handshake_seconds)));
  return out + fmt::format("  received: {} bytes, sent: {} bytes\n", peer.received_bytes, peer.sent_bytes);
}

std::string text_of(const TunnelStatus& status) {
  const device::DeviceState& state = status.state;
  std::string out =
      fmt::format("interface: {}\n  file: {}\n  listening port: {}\n", status.name, status.file, state.listen_port);
  if (state.fwmark != 0) out += fmt::format("  fwmark: {:#x}\n", state.fwmark);
  size_t routes = 0;
  for (const host::Step& step : status.steps) {
    routes += step.kind == Kind::route ? 1U : 0U;
    if (step.kind == Kind::address) out += fmt::format("  address: {}\n", device::to_string(step.prefix));
    if (step.kind == Kind::link) out += fmt::format("  mtu: {}\n", step.number);
    if (step.kind == Kind::dns)
      out += fmt::format("  dns: {}{}{}\n", fmt::join(step.words, ", "), step.more_words.empty() ? "" : ", search ",
                         fmt::join(step.more_words, ", "));
    if (step.kind == Kind::firewall) out += fmt::format("  nftables: table {}\n", step.name);
  }
  out += fmt::format("  routes: {}\n", routes);
  const EndpointNamesOf names(status.config);
  for (const device::PeerState& peer : state.peers) out += text_of_peer(peer, names.of(peer.public_key));
  return out;
}

Json string_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json json_of_peer(const device::PeerState& peer, const std::string& name) {
  return {{"public_key", device::to_base64(peer.public_key)},
          {"endpoint", string_or_null(peer.endpoint ? io::to_string(*peer.endpoint) : "")},
          {"endpoint_name", string_or_null(name)},
          {"group", string_or_null(peer.group)},
          {"allowed_ips", texts_of(peer.allowed_ips)},
          {"persistent_keepalive", peer.persistent_keepalive_seconds},
          {"latest_handshake", peer.last_handshake_seconds != 0 ? Json(peer.last_handshake_seconds) : Json(nullptr)},
          {"received_bytes", peer.received_bytes},
          {"sent_bytes", peer.sent_bytes}};
}

std::string json_of(const TunnelStatus& status) {
  const device::DeviceState& state = status.state;
  const protocol::StaticIdentity identity(state.private_key.clone());
  Json out = {
      {"name", status.name},
      {"file", status.file},
      {"public_key", string_or_null(state.private_key.is_zero() ? "" : device::to_base64(identity.public_key().bytes))},
      {"listen_port", state.listen_port},
      {"fwmark", state.fwmark},
      {"mtu", nullptr},
      {"addresses", Json::array()},
      {"dns", {{"servers", Json::array()}, {"search", Json::array()}}},
      {"routes", 0},
      {"nftables", Json::array()},
      {"peers", Json::array()}};
  size_t routes = 0;
  for (const host::Step& step : status.steps) {
    routes += step.kind == Kind::route ? 1U : 0U;
    if (step.kind == Kind::address) out["addresses"].push_back(device::to_string(step.prefix));
    if (step.kind == Kind::link) out["mtu"] = step.number;
    if (step.kind == Kind::dns) out["dns"] = {{"servers", step.words}, {"search", step.more_words}};
    if (step.kind == Kind::firewall) out["nftables"].push_back(step.name);
  }
  out["routes"] = routes;
  const EndpointNamesOf names(status.config);
  for (const device::PeerState& peer : state.peers)
    out["peers"].push_back(json_of_peer(peer, names.of(peer.public_key)));
  // A file's name may be no UTF-8.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string print_status(const TunnelStatus& status, StatusForm form) {
  return form == StatusForm::json ? json_of(status) : text_of(status);
}

}  // namespace culvert::daemon
