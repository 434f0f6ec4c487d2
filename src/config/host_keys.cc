#include "src/config/host_keys.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "src/config/table_names.h"
#include "src/config/words.h"

namespace culvert::config {
namespace {

using Settings = host::Settings;
using Kind = host::TableChoice::Kind;

constexpr uint32_t kSmallestMtu = 68;  // what Linux asks of a device that speaks IPv4
constexpr uint32_t kLargestMtu = 65535;
constexpr size_t kLongestInterfaceName = 15;

bool is_word_of(std::string_view text, std::string_view punctuation) {
  return !text.empty() && std::all_of(
                              text.begin(), text.end(),
                              [punctuation](char c) {
                                return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                       punctuation.find(c) != std::string_view::npos;
                              });
}

bool is_address(std::string_view word) {
  std::array<unsigned char, 16> ignored{};
  const std::string text(word.substr(0, word.find('%')));  // a scope may follow
  const bool scoped = text.size() != word.size();
  if (scoped && !is_word_of(word.substr(text.size() + 1), "_.-")) return false;
  return ::inet_pton(AF_INET6, text.c_str(), ignored.data()) == 1 ||
         (!scoped && ::inet_pton(AF_INET, text.c_str(), ignored.data()) == 1);
}

std::string parse_addresses(std::string_view value, Settings& settings) {
  std::string error;
  for_each_word(value, [&](std::string_view word) {
    if (const auto prefix = device::parse_prefix(word, device::PrefixLength::optional))
      settings.addresses.push_back(*prefix);
    else
      error = fmt::format(
          "Address {} is not ADDRESS/LENGTH, such as 10.0.0.1/24 or fd00::1/64; put commas between "
          "several",
          device::quote(word));
  });
  return error;
}

std::string parse_mtu(std::string_view value, Settings& settings) {
  const auto mtu = device::parse_decimal(value, kLargestMtu);
  if (!mtu || *mtu < kSmallestMtu)
    return fmt::format("MTU {} is not a number of bytes, {} to {} (1420 fits a path of 1500)", device::quote(value),
                       kSmallestMtu, kLargestMtu);
  settings.mtu = static_cast<uint32_t>(*mtu);
  return "";
}

// An address is a server, any other word a domain to search, as with wg-quick(8).
std::string parse_dns(std::string_view value, Settings& settings) {
  std::string error;
  for_each_word(value, [&](std::string_view word) {
    if (is_address(word))
      settings.dns_servers.emplace_back(word);
    else if (is_word_of(word, "_.-") && word.find_first_not_of("0123456789.") != std::string_view::npos)
      settings.dns_search.emplace_back(word);
    else
      error = fmt::format(
          "DNS {} is neither a server's address, such as 192.0.2.53 or 2001:db8::53, nor a domain to "
          "search; put commas between several",
          device::quote(word));
  });
  return error;
}

std::string parse_table(std::string_view value, Settings& settings) {
  if (same_word(value, "auto"))
    settings.table = {};
  else if (same_word(value, "off"))
    settings.table = {.kind = Kind::off};
  else if (const auto number = parse_table_number(value))
    settings.table = {.kind = Kind::number, .number = *number};
  else if (const auto named = find_table(value))
    settings.table = {.kind = Kind::number, .number = *named, .name = std::string(value)};
  else
    return fmt::format(
        "Table {} is not a routing table: auto, off, main, a number from 1 to 4294967295, or a name of "
        "/etc/iproute2/rt_tables",
        device::quote(value));
  return "";
}

std::string parse_switch(std::string_view key, std::string_view value, bool& out) {
  const bool on = same_word(value, "true") || same_word(value, "yes") || same_word(value, "on");
  const bool off = same_word(value, "false") || same_word(value, "no") || same_word(value, "off");
  if (!on && !off) return fmt::format("{} {} is neither true nor false", key, device::quote(value));
  out = on;
  return "";
}

std::string parse_masquerade(std::string_view value, Settings& settings) {
  std::string error;
  for_each_word(value, [&](std::string_view word) {
    if (const std::string wrong = configured_name_error(word); wrong.empty())
      settings.masquerade.emplace_back(word);
    else
      error = "Masquerade " + device::quote(word) + " is not an interface: " + wrong;
  });
  return error;
}

template <std::vector<std::string> Settings::*member>
std::string parse_hook(std::string_view value, Settings& settings) {
  if (value.find('\0') != std::string_view::npos) return "a command cannot hold a zero byte; remove it";
  if (!value.empty()) (settings.*member).emplace_back(value);
  return "";
}

struct Entry {
  std::string_view name;
  HostKey kind;
  std::string (*parse)(std::string_view value, Settings& settings);
};

constexpr std::array<Entry, 11> kEntries = {{
    {"Address", HostKey::basic, parse_addresses},
    {"MTU", HostKey::basic, parse_mtu},
    {"DNS", HostKey::everyday, parse_dns},
    {"Table", HostKey::everyday, parse_table},
    {"PreUp", HostKey::everyday, parse_hook<&Settings::pre_up>},
    {"PostUp", HostKey::everyday, parse_hook<&Settings::post_up>},
    {"PreDown", HostKey::everyday, parse_hook<&Settings::pre_down>},
    {"PostDown", HostKey::everyday, parse_hook<&Settings::post_down>},
    {"SaveConfig", HostKey::everyday,
     [](std::string_view value, Settings& settings) { return parse_switch("SaveConfig", value, settings.save); }},
    {"Forward", HostKey::everyday,
     [](std::string_view value, Settings& settings) { return parse_switch("Forward", value, settings.forward); }},
    {"Masquerade", HostKey::everyday, parse_masquerade},
}};

const Entry* find_entry(std::string_view key) {
  const auto* const at =
      std::find_if(kEntries.begin(), kEntries.end(), [key](const Entry& entry) { return same_word(entry.name, key); });
  return at == kEntries.end() ? nullptr : at;
}

}  // namespace

HostKey host_key_kind(std::string_view key) {
  const Entry* const entry = find_entry(key);
  return entry == nullptr ? HostKey::none : entry->kind;
}

std::string parse_host_key(std::string_view key, std::string_view value, host::Settings& settings) {
  const Entry* const entry = find_entry(key);
  return entry == nullptr ? "nobody knows this key" : entry->parse(value, settings);
}

std::string configured_name_error(std::string_view name) {
  if (name.size() <= kLongestInterfaceName && is_word_of(name, "_=+.-") && name != "." && name != "..") return "";
  return "1 to 15 letters, digits and _ = + . - make a name, such as wg0";
}

}  // namespace culvert::config
