#include "src/host/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace culvert::host {
namespace {

int digit(protocol::IpVersion version) {
  return version == protocol::IpVersion::v4 ? 4 : 6;
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

}  // namespace

bool can_replace(const Step& step) {
  return step.kind == Step::Kind::link || step.kind == Step::Kind::dns || step.kind == Step::Kind::mark ||
         step.kind == Step::Kind::sysctl || step.kind == Step::Kind::firewall;
}

std::string replaces_key(const Step& step) {
  switch (step.kind) {
    case Step::Kind::link:
      return "link";
    case Step::Kind::dns:
      return "dns";
    case Step::Kind::mark:
      return "mark";
    case Step::Kind::firewall:
      return "firewall " + step.name;
    case Step::Kind::sysctl:
      return "sysctl " + step.name;
    default:
      return describe(step, "");
  }
}

std::string describe(const Step& step, const std::string& interface_name) {
  const int prefix_version = digit(step.prefix.version);
  switch (step.kind) {
    case Step::Kind::address:
      return fmt::format("ip -{} address add {} dev {}", prefix_version, device::to_string(step.prefix),
                         interface_name);
    case Step::Kind::link:
      return fmt::format("ip link set mtu {} up dev {}", step.number, interface_name);
    case Step::Kind::dns:
      return fmt::format("resolvconf -a {} with nameserver {}{}{}", interface_name, join(step.words),
                         step.more_words.empty() ? "" : ", search ", join(step.more_words));
    case Step::Kind::mark:
      return fmt::format("wg set {} fwmark {}", interface_name, step.number);
    case Step::Kind::route:
      return fmt::format("ip -{} route add {} dev {}{}", prefix_version, device::to_string(step.prefix), interface_name,
                         step.number == kMainTable ? "" : fmt::format(" table {}", step.number));
    case Step::Kind::rule:
      return fmt::format("ip -{} rule add not fwmark {} table {}", digit(step.version), step.number, step.number);
    case Step::Kind::suppress:
      return fmt::format("ip -{} rule add table main suppress_prefixlength 0", digit(step.version));
    case Step::Kind::sysctl:
      return fmt::format("sysctl -q {}={}", step.name, step.number);
    case Step::Kind::firewall:
      return fmt::format("nft add table {} {{{}}}", step.name, step.text);
  }
  return "";
}

bool outlives_interface(const Step& step) {
  return step.kind == Step::Kind::dns || step.kind == Step::Kind::rule || step.kind == Step::Kind::suppress ||
         step.kind == Step::Kind::firewall;
}

std::string to_journal(const Step& step) {
  switch (step.kind) {
    case Step::Kind::dns:
      return "dns";
    case Step::Kind::rule:
      return fmt::format("rule {} {}", digit(step.version), step.number);
    case Step::Kind::suppress:
      return fmt::format("suppress {}", digit(step.version));
    case Step::Kind::firewall:
      return "firewall " + step.name;
    default:
      return "";
  }
}

bool from_journal(std::string_view line, Step& step) {
  std::array<std::string_view, 3> words;
  size_t count = 0;
  for (size_t at = 0; at <= line.size() && count < words.size(); ++count) {
    const size_t end = count + 1 < words.size() ? std::min(line.find(' ', at), line.size()) : line.size();
    words[count] = line.substr(at, end - at);
    at = end + 1;
  }
  const auto& [kind, first, second] = words;
  step = Step{.kind = Step::Kind::dns};
  if (kind == "dns") return count == 1;
  if (kind == "firewall") {
    step.kind = Step::Kind::firewall;
    step.name = std::string(first) + " " + std::string(second);
    const auto plain = [](char c) { return c > ' ' && c != ';' && c != '{' && c != '}' && c != '"' && c != 0x7f; };
    return count == 3 && std::all_of(first.begin(), first.end(), plain) &&
           std::all_of(second.begin(), second.end(), plain);
  }
  if (first != "4" && first != "6") return false;
  step.version = first == "4" ? protocol::IpVersion::v4 : protocol::IpVersion::v6;
  if (kind == "suppress") {
    step.kind = Step::Kind::suppress;
    return count == 2;
  }
  const auto number = device::parse_decimal(second, UINT32_MAX);
  step.kind = Step::Kind::rule;
  step.number = static_cast<uint32_t>(number.value_or(0));
  return kind == "rule" && number.value_or(0) != 0;
}

}  // namespace culvert::host
