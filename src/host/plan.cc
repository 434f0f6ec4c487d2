#include "src/host/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

namespace culvert::host {
namespace {

using device::Prefix;
using protocol::IpVersion;
using Kind = Step::Kind;

constexpr uint32_t kUsualMtu = 1500;
constexpr uint32_t kOverheadBytes = 80;  // IPv6, UDP, WireGuard's header and tag: what wg-quick leaves for them
constexpr uint32_t kSmallestMtu = 68;    // what Linux asks of a device that speaks IPv4

// Longest first; of equals the later text first, as `sort -nr` leaves them to wg-quick. Each once.
std::vector<Prefix> in_order(std::span<const Prefix> prefixes) {
  std::vector<std::pair<std::string, const Prefix*>> texts;
  texts.reserve(prefixes.size());
  for (const Prefix& prefix : prefixes) texts.emplace_back(device::to_string(prefix), &prefix);
  std::sort(texts.begin(), texts.end(), [](const auto& a, const auto& b) {
    return a.second->cidr != b.second->cidr ? a.second->cidr > b.second->cidr : a.first > b.first;
  });
  std::vector<Prefix> out;
  out.reserve(texts.size());
  for (const auto& [text, prefix] : texts)
    if (out.empty() || !(out.back() == *prefix)) out.push_back(*prefix);
  return out;
}

bool covers(const Prefix& wide, const Prefix& narrow) {
  if (wide.version != narrow.version || wide.cidr > narrow.cidr) return false;
  Prefix cut = narrow;
  cut.cidr = wide.cidr;
  return device::masked(cut) == device::masked(wide);
}

// The kernel makes a route of its own for an address: not for a lone IPv4 one.
bool has_connected_route(const Prefix& address) {
  return address.version == IpVersion::v6 || address.cidr < 32;
}

class Planner {
 public:
  Planner(const Settings& settings, const Facts& facts) : settings_(settings), facts_(facts) {}

  std::vector<Step> make(std::span<const Prefix> allowed_ips);

 private:
  void add_routes(std::span<const Prefix> allowed_ips);
  void add_default(const Prefix& everything);
  void add_gateway();
  std::string spoof_guard(IpVersion version) const;
  std::string table_suffix() const;
  std::string quoted(const std::string& name) const { return '"' + name + '"'; }

  const Settings& settings_;
  const Facts& facts_;
  uint32_t mark_ = 0;
  std::vector<Step> steps_;
};

std::vector<Step> Planner::make(std::span<const Prefix> allowed_ips) {
  for (const Prefix& address : settings_.addresses) {
    const Step step{.kind = Kind::address, .prefix = address};
    if (std::find(steps_.begin(), steps_.end(), step) == steps_.end()) steps_.push_back(step);
  }
  const uint32_t path = std::max(facts_.path_mtu != 0 ? facts_.path_mtu : kUsualMtu, kSmallestMtu + kOverheadBytes);
  steps_.push_back({.kind = Kind::link, .number = settings_.mtu.value_or(path - kOverheadBytes)});
  if (!settings_.dns_servers.empty())
    steps_.push_back({.kind = Kind::dns, .words = settings_.dns_servers, .more_words = settings_.dns_search});
  add_routes(allowed_ips);
  add_gateway();
  return std::move(steps_);
}

void Planner::add_routes(std::span<const Prefix> allowed_ips) {
  if (settings_.table.kind == TableChoice::Kind::off) return;
  for (const Prefix& prefix : in_order(allowed_ips)) {
    if (settings_.table.kind == TableChoice::Kind::number) {
      steps_.push_back({.kind = Kind::route, .prefix = prefix, .number = settings_.table.number});
    } else if (prefix.cidr == 0) {
      add_default(prefix);
    } else {
      // What was planned before is longer, or as long and another: only the addresses' own routes can cover it.
      const bool there =
          std::any_of(settings_.addresses.begin(), settings_.addresses.end(),
                      [&](const Prefix& address) { return has_connected_route(address) && covers(address, prefix); });
      if (!there) steps_.push_back({.kind = Kind::route, .prefix = prefix, .number = kMainTable});
    }
  }
}

// Everything through the tunnel but what is marked, which is what the tunnel itself sends.
void Planner::add_default(const Prefix& everything) {
  const IpVersion version = everything.version;
  if (mark_ == 0) {
    const bool ours = facts_.fwmark == 0 || facts_.fwmark == facts_.automatic_mark;
    mark_ = ours ? facts_.automatic_mark : facts_.fwmark;
    if (ours) steps_.push_back({.kind = Kind::mark, .number = mark_});
  }
  steps_.push_back({.kind = Kind::route, .prefix = everything, .number = mark_});
  steps_.push_back({.kind = Kind::rule, .version = version, .number = mark_});
  steps_.push_back({.kind = Kind::suppress, .version = version});
  if (version == IpVersion::v4)
    steps_.push_back({.kind = Kind::sysctl, .number = 1, .name = "net.ipv4.conf.all.src_valid_mark"});
  steps_.push_back({.kind = Kind::firewall,
                    .name = (version == IpVersion::v4 ? "ip culvert-" : "ip6 culvert-") + table_suffix(),
                    .text = spoof_guard(version)});
}

// wg-quick's: nobody outside reaches the tunnel's addresses past the tunnel (CVE-2019-14899), and answers to what the
// tunnel itself sent keep its mark, for the kernel's reverse path filter.
std::string Planner::spoof_guard(IpVersion version) const {
  const std::string family = version == IpVersion::v4 ? "ip" : "ip6";
  std::string text = " chain preraw { type filter hook prerouting priority -300; ";
  for (const Prefix& address : settings_.addresses) {
    if (address.version != version) continue;
    const std::string full = device::to_string(address);
    text += fmt::format("iifname != {} {} daddr {} fib saddr type != local drop; ", quoted(facts_.interface_name),
                        family, full.substr(0, full.find('/')));
  }
  text += "}; chain premangle { type filter hook prerouting priority -150; meta l4proto udp meta mark set ct mark; }; ";
  text += fmt::format(
      "chain postmangle {{ type filter hook postrouting priority -150; meta l4proto udp mark {} ct mark set mark; }}; ",
      mark_);
  return text;
}

// The interface's name as nftables takes it for a table's. No interface has a slash in its name.
std::string Planner::table_suffix() const {
  std::string out;
  for (const char c : facts_.interface_name)
    if (c == '+' || c == '=')
      out += c == '+' ? "/plus/" : "/is/";
    else
      out += c;
  return out;
}

void Planner::add_gateway() {
  if (settings_.forward) {
    steps_.push_back({.kind = Kind::sysctl, .number = 1, .name = "net.ipv4.ip_forward"});
    // Before: whoever forwards takes no router advertisements by default, and loses the routes that they brought.
    for (const std::string& name : facts_.router_interfaces)
      steps_.push_back({.kind = Kind::sysctl, .number = 2, .name = "net/ipv6/conf/" + name + "/accept_ra"});
    if (facts_.ipv6) steps_.push_back({.kind = Kind::sysctl, .number = 1, .name = "net.ipv6.conf.all.forwarding"});
  }
  if (settings_.masquerade.empty()) return;
  std::string text = " chain postrouting { type nat hook postrouting priority 100; ";
  for (const std::string& outside : settings_.masquerade)
    text += fmt::format("iifname {} oifname {} masquerade; ", quoted(facts_.interface_name), quoted(outside));
  steps_.push_back({.kind = Kind::firewall, .name = "inet culvert-nat-" + table_suffix(), .text = text + "}; "});
}

}  // namespace

std::vector<Step> plan(const Settings& settings, const Facts& facts, std::span<const Prefix> allowed_ips) {
  return Planner(settings, facts).make(allowed_ips);
}

Difference difference(std::span<const Step> before, std::span<const Step> after) {
  // Of plans with thousands of routes most often a few differ.
  while (!before.empty() && !after.empty() && before.front() == after.front()) {
    before = before.subspan(1);
    after = after.subspan(1);
  }
  while (!before.empty() && !after.empty() && before.back() == after.back()) {
    before = before.first(before.size() - 1);
    after = after.first(after.size() - 1);
  }
  std::unordered_map<std::string, const Step*> old;
  std::set<std::string> kept;
  for (const Step& step : before) old.emplace(replaces_key(step), &step);
  Difference out;
  for (const Step& step : after) {
    const std::string key = replaces_key(step);
    kept.insert(key);
    const auto at = old.find(key);
    if (at == old.end() || !(*at->second == step)) out.go.push_back(step);
  }
  for (auto step = before.rbegin(); step != before.rend(); ++step)
    if (!kept.contains(replaces_key(*step))) out.undo.push_back(*step);
  return out;
}

std::string expand_hook(std::string_view command, const std::string& interface_name) {
  std::string out;
  for (size_t at = 0; at < command.size();) {
    const size_t mark = std::min(command.find("%i", at), command.size());
    out += command.substr(at, mark - at);
    if (mark < command.size()) out += interface_name;
    at = mark + 2;
  }
  return out;
}

}  // namespace culvert::host
