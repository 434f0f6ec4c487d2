#include "src/config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "src/config/host_keys.h"
#include "src/config/words.h"

namespace culvert::config {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // of editors on other systems

// Reads the lines of one file into a ConfigOutcome.
class Parser {
 public:
  // Without `resolve` the file is one for `culvert up`: all keys are good, and names stay names.
  Parser(const std::string& file_name, const ResolveEndpoint* resolve) : file_name_(file_name), resolve_(resolve) {}

  ConfigOutcome parse(std::string_view text);

 private:
  enum class Section : uint8_t { none, interface, peer, unknown };

  void parse_line(std::string_view line);
  void open_section(std::string_view name);
  void close_section();
  void parse_workers(std::string_view value);
  bool parse_dpdk_key(std::string_view key, std::string_view value);
  void parse_port(std::string_view key, std::string_view value, std::optional<device::PortRequest>& out);
  void check_dpdk();
  void parse_host_setting(std::string_view key, std::string_view value);
  void parse_interface_key(std::string_view key, std::string_view value);
  void parse_peer_key(std::string_view key, std::string_view value);

  void parse_secret_key(std::string_view key, std::string_view value, device::SecretKey& out);
  void parse_public_key(std::string_view value);
  void fail_key(std::string_view key);
  void parse_mark(std::string_view value);
  void parse_resolve(std::string_view value);
  void parse_allowed_ips(std::string_view value);
  void parse_endpoint(std::string_view value);
  void parse_keepalive(std::string_view value);
  void parse_source_ports(std::string_view value);
  void parse_switch(std::string_view key, std::string_view value, bool& out);
  void parse_peer_source_ports(std::string_view value);
  void parse_group(std::string_view value);

  template <typename... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    fail_at(line_number_, fmt::format(format, std::forward<Args>(args)...));
  }
  void fail_at(size_t line, const std::string& text) {
    if (outcome_.errors.size() < kMaxConfigErrors)
      outcome_.errors.push_back(fmt::format("{}:{}: {}", file_name_, line, text));
  }

  const std::string& file_name_;
  const ResolveEndpoint* resolve_;
  ConfigOutcome outcome_;
  Section section_ = Section::none;
  size_t line_number_ = 0;
  size_t section_line_ = 0;
  bool has_public_key_ = false;
  device::DpdkRequest dpdk_;
  bool has_dpdk_ = false;
  size_t dpdk_line_ = 0;  // of the last of its keys; 0: there is none
  std::map<std::string, size_t> group_sizes_;
};

ConfigOutcome Parser::parse(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  while (!text.empty()) {
    ++line_number_;
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    parse_line(trim(line.substr(0, line.find('#'))));
  }
  close_section();
  check_dpdk();
  return std::move(outcome_);
}

void Parser::parse_line(std::string_view line) {
  if (line.empty()) return;
  if (line.front() == '[') {
    open_section(line);
    return;
  }
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos) {
    fail("the line has no '='; write 'Key = value', and start comments with '#'");
    return;
  }
  const std::string_view key = trim(line.substr(0, equals));
  const std::string_view value = trim(line.substr(equals + 1));
  switch (section_) {
    case Section::none:
      fail("{} stands before any section; start with [Interface]", device::quote_name(key));
      break;
    case Section::interface:
      parse_interface_key(key, value);
      break;
    case Section::peer:
      parse_peer_key(key, value);
      break;
    case Section::unknown:
      break;  // its head was the error
  }
}

void Parser::open_section(std::string_view name) {
  close_section();
  section_line_ = line_number_;
  if (same_word(name, "[Interface]")) {
    section_ = Section::interface;
  } else if (same_word(name, "[Peer]")) {
    section_ = Section::peer;
    has_public_key_ = false;
    outcome_.config.peers.emplace_back();
  } else {
    section_ = Section::unknown;
    fail("there is no section {}; use [Interface] and [Peer]", device::quote_name(name));
  }
}

void Parser::close_section() {
  if (section_ == Section::peer && !has_public_key_)
    fail_at(section_line_, "this [Peer] has no PublicKey; add the line 'PublicKey = ...' with the peer's key");
}

void Parser::parse_interface_key(std::string_view key, std::string_view value) {
  Config& config = outcome_.config;
  if (same_word(key, "PrivateKey"))
    parse_secret_key(key, value, config.private_key);
  else if (same_word(key, "ListenPort"))
    if (const auto port = device::parse_decimal(value, UINT16_MAX))
      config.listen_port = static_cast<uint16_t>(*port);
    else
      fail("ListenPort {} is not a port, 0 (any free one) to 65535", device::quote(value));
  else if (same_word(key, "SourcePorts"))
    parse_source_ports(value);
  else if (same_word(key, "FwMark"))
    parse_mark(value);
  else if (same_word(key, "Workers"))
    parse_workers(value);
  else if (same_word(key, "ShortQueues"))
    parse_switch(key, value, outcome_.config.short_queues);
  else if (same_word(key, "Resolve"))
    parse_resolve(value);
  else if (!parse_dpdk_key(key, value))
    parse_host_setting(key, value);
}

void Parser::parse_switch(std::string_view key, std::string_view value, bool& out) {
  out = same_word(value, "true");
  if (!out && !same_word(value, "false")) fail("{} {} is neither true nor false", key, device::quote(value));
}

// False: it is none of these.
bool Parser::parse_dpdk_key(std::string_view key, std::string_view value) {
  device::DpdkRequest& dpdk = dpdk_;
  const size_t line = dpdk_line_;
  dpdk_line_ = line_number_;
  if (same_word(key, "Dpdk")) {
    dpdk.arguments = value;
    has_dpdk_ = true;
  } else if (same_word(key, "OuterPort")) {
    parse_port(key, value, dpdk.outer);
  } else if (same_word(key, "InnerPort")) {
    if (resolve_ == nullptr) fail("InnerPort is for --config; `culvert up` sets up a host, which needs a TUN device");
    parse_port(key, value, dpdk.inner);
  } else if (same_word(key, "BusyPoll")) {
    parse_switch(key, value, dpdk.busy_poll);
  } else {
    dpdk_line_ = line;
    return false;
  }
  return true;
}

void Parser::parse_port(std::string_view key, std::string_view value, std::optional<device::PortRequest>& out) {
  if (auto request = device::parse_port_request(value))
    out = std::move(*request);
  else
    fail("{}: {}", key, request.error().context);
}

void Parser::check_dpdk() {
  if (dpdk_line_ == 0) return;
  outcome_.config.dpdk = std::move(dpdk_);
  if (!has_dpdk_)
    fail_at(dpdk_line_, "there is no Dpdk; add 'Dpdk = ' with the arguments of DPDK's EAL, which may be empty");
  if (outcome_.config.dpdk->inner && !outcome_.config.host.addresses.empty())
    fail_at(dpdk_line_, "Address is for a TUN device, and InnerPort takes its place; use address= of InnerPort");
}

void Parser::parse_workers(std::string_view value) {
  if (auto request = device::parse_worker_request(value))
    outcome_.config.workers = std::move(*request);
  else
    fail("Workers {}", request.error().context);
}

void Parser::parse_host_setting(std::string_view key, std::string_view value) {
  const HostKey kind = host_key_kind(key);
  if (kind == HostKey::none) {
    fail(
        "[Interface] has no setting {}; use PrivateKey, ListenPort, SourcePorts, FwMark, Workers, ShortQueues, Dpdk, "
        "OuterPort, "
        "InnerPort, BusyPoll, Address, MTU{}",
        device::quote_name(key),
        resolve_ != nullptr ? ""
                            : ", DNS, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig, Forward, Masquerade, "
                              "Resolve");
  } else if (resolve_ != nullptr && kind == HostKey::everyday) {
    fail("{} is not for --config; take the file by `culvert up FILE`, which knows all settings of wg-quick(8)", key);
  } else if (const std::string error = parse_host_key(key, value, outcome_.config.host); !error.empty()) {
    fail("{}", error);
  }
}

// "60", "60s", "5m" or "1h".
void Parser::parse_resolve(std::string_view value) {
  constexpr uint64_t kMostSeconds = 86400;
  constexpr std::string_view kUnits = "smh";
  uint64_t factor = 1;
  std::string_view digits = value;
  if (const size_t unit = value.empty() ? kUnits.npos : kUnits.find(value.back()); unit != kUnits.npos) {
    for (size_t i = 0; i < unit; ++i) factor *= 60;
    digits.remove_suffix(1);
  }
  const auto number = device::parse_decimal(digits, kMostSeconds);
  if (resolve_ != nullptr)
    fail("Resolve is not for --config; take the file by `culvert up FILE`");
  else if (!number || *number == 0 || *number * factor > kMostSeconds)
    fail("Resolve {} is not a time between two look-ups, such as 60s, 5m or 1h; a day at most", device::quote(value));
  else
    outcome_.config.resolve_every = std::chrono::seconds(*number * factor);
}

void Parser::parse_peer_key(std::string_view key, std::string_view value) {
  ConfigPeer& peer = outcome_.config.peers.back();
  if (same_word(key, "PublicKey"))
    parse_public_key(value);
  else if (same_word(key, "PresharedKey"))
    parse_secret_key(key, value, peer.preshared_key);
  else if (same_word(key, "AllowedIPs"))
    parse_allowed_ips(value);
  else if (same_word(key, "Endpoint"))
    parse_endpoint(value);
  else if (same_word(key, "PersistentKeepalive"))
    parse_keepalive(value);
  else if (same_word(key, "SourcePorts"))
    parse_peer_source_ports(value);
  else if (same_word(key, "Group"))
    parse_group(value);
  else
    fail(
        "[Peer] has no setting {}; use PublicKey, PresharedKey, AllowedIPs, Endpoint, PersistentKeepalive, "
        "SourcePorts, Group",
        device::quote_name(key));
}

void Parser::parse_secret_key(std::string_view key, std::string_view value, device::SecretKey& out) {
  if (auto parsed = device::secret_key_from_base64(value))
    out = std::move(*parsed);
  else
    fail_key(key);
}

void Parser::parse_public_key(std::string_view value) {
  has_public_key_ = true;
  if (const auto parsed = device::key_from_base64(value))
    outcome_.config.peers.back().public_key = *parsed;
  else
    fail_key("PublicKey");
}

// Never quotes the value: it may be a private key with a slip of the pen.
void Parser::fail_key(std::string_view key) {
  fail("the value of {} is not a key, 44 characters of base64 as `wg genkey` prints them", key);
}

void Parser::parse_mark(std::string_view value) {
  if (same_word(value, "off")) {
    outcome_.config.fwmark = 0;
    return;
  }
  const bool hex = value.size() > 2 && value.starts_with("0x");
  const std::string_view digits = hex ? value.substr(2) : value;
  uint32_t mark = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), mark, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    fail("FwMark {} is not a mark: off, 0 to 4294967295, or 0x1 to 0xffffffff", device::quote(value));
    return;
  }
  outcome_.config.fwmark = mark;
}

void Parser::parse_allowed_ips(std::string_view value) {
  for_each_item(
      value,
      [this](std::string_view item) {
        ConfigAllowedIp allowed_ip;
        std::string_view text = item;
        if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
          allowed_ip.remove = text.front() == '-';
          text.remove_prefix(1);
        }
        if (const auto prefix = device::parse_prefix(text, device::PrefixLength::optional)) {
          allowed_ip.prefix = device::masked(*prefix);
          outcome_.config.peers.back().allowed_ips.push_back(allowed_ip);
        } else {
          fail("AllowedIPs {} is not ADDRESS/LENGTH, such as 10.0.0.0/24 or fd00::/64; put commas between several",
               device::quote(item));
        }
      });
}

void Parser::parse_endpoint(std::string_view value) {
  io::Endpoint endpoint;
  if (io::parse_endpoint(std::string(value), endpoint)) {
    outcome_.config.peers.back().endpoint = endpoint;
    outcome_.config.peers.back().endpoint_name.reset();
    return;
  }
  const size_t colon = value.rfind(':');
  std::string_view host = value.substr(0, colon);
  const bool has_port = colon != std::string_view::npos && colon + 1 < value.size();
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find_first_of(":[]") != std::string_view::npos)
    host = {};
  if (!has_port || host.empty() || value.find('\0') != std::string_view::npos) {
    fail("Endpoint {} is not HOST:PORT, such as host.example:51820, 192.0.2.1:51820 or [2001:db8::1]:51820",
         device::quote(value));
    return;
  }
  if (resolve_ == nullptr) {
    const auto port = device::parse_decimal(value.substr(colon + 1), UINT16_MAX);
    if (port && *port != 0)
      outcome_.config.peers.back().endpoint_name = {std::string(host), static_cast<uint16_t>(*port)};
    else
      fail("Endpoint {} has no port, 1 to 65535, behind its colon", device::quote(value));
    return;
  }
  const io::Result<io::Endpoint> resolved = (*resolve_)(std::string(host), std::string(value.substr(colon + 1)));
  if (!resolved) {
    fail("Endpoint {} cannot be resolved: {}; check the name, the port and /etc/resolv.conf", device::quote(value),
         resolved.error().text());
    return;
  }
  outcome_.config.peers.back().endpoint = *resolved;
}

void Parser::parse_keepalive(std::string_view value) {
  const auto seconds = same_word(value, "off") ? std::optional<uint64_t>(0) : device::parse_decimal(value, UINT16_MAX);
  if (seconds)
    outcome_.config.peers.back().persistent_keepalive_seconds = static_cast<uint16_t>(*seconds);
  else
    fail("PersistentKeepalive {} is not a time: off, or 1 to 65535 seconds (25 keeps a NAT open)",
         device::quote(value));
}

void Parser::parse_source_ports(std::string_view value) {
  if (const auto ports = io::parse_source_ports(value))
    outcome_.config.source_ports = *ports;
  else
    fail("SourcePorts {} is neither a number of ports, 1 (off) to 128, nor a range of 128 at most, such as 40000-40007",
         device::quote(value));
}

void Parser::parse_peer_source_ports(std::string_view value) {
  if (const auto count = device::parse_decimal(value, io::kMaxSourcePorts); count && *count != 0)
    outcome_.config.peers.back().source_ports = static_cast<uint16_t>(*count);
  else
    fail("SourcePorts {} of a peer is not a number of the device's ports, 1 (off) to 128", device::quote(value));
}

void Parser::parse_group(std::string_view value) {
  if (!device::is_group_name(value)) {
    fail("Group {} is not a name, 1 to {} letters, digits, '.', '_' or '-'; give all tunnels to one place the same one",
         device::quote(value), device::kMaxGroupNameBytes);
    return;
  }
  std::string& group = outcome_.config.peers.back().group;
  if (!group.empty()) --group_sizes_[group];
  group = value;
  if (++group_sizes_[group] > device::kMaxGroupMembers)
    fail("Group {} has more than {} peers; put this one and those after it into another group", device::quote(value),
         device::kMaxGroupMembers);
}

}  // namespace

ConfigOutcome parse_config(std::string_view text, const std::string& file_name, const ResolveEndpoint& resolve) {
  return Parser(file_name, &resolve).parse(text);
}

ConfigOutcome parse_gateway_config(std::string_view text, const std::string& file_name) {
  return Parser(file_name, nullptr).parse(text);
}

}  // namespace culvert::config
