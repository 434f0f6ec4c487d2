#include "src/uapi/grammar.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "io/steering_table.h"

namespace culvert::uapi {
namespace {

constexpr const char* kKeyForm = "64 hexadecimal digits";

struct NumberField {
  uint32_t greatest;
  const char* form;
};

NumberField number_field(Field field) {
  switch (field) {
    case Field::listen_port:
      return {UINT16_MAX, "a port: 0 (any free one) to 65535"};
    case Field::fwmark:
      return {UINT32_MAX, "a mark: a decimal number, 0 (off) to 4294967295"};
    case Field::peer_source_ports:
      return {io::kMaxSourcePorts, "a number of ports: 0 (as many as the device has), 1 (off) to 128"};
    case Field::workers:
      return {io::kMaxWorkers, "a number of workers: 1 to 128"};
    default:
      return {UINT16_MAX, "a time in seconds: 0 (off) to 65535"};
  }
}

}  // namespace

SetParser::Progress SetParser::feed_line(std::string_view line) {
  if (!finished_) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) {
      finish();
    } else {
      ++line_number_;
      parse_line(line);
    }
  }
  return finished_ ? Progress::finished : Progress::more;
}

void SetParser::finish() {
  if (!finished_) end(true);
}

void SetParser::fail_line_too_long() {
  ++line_number_;
  fail(UapiError::io, fmt::format("it is longer than {} bytes; write one key=value per line", kMaxUapiLineBytes));
}

void SetParser::fail_timed_out() {
  ++line_number_;
  fail(UapiError::timed_out, "it did not come in time; end a set operation with a blank line");
}

void SetParser::parse_line(std::string_view line) {
  const size_t equals = line.find('=');
  // What has no '=' might be a piece of a key: it is not quoted.
  if (equals == std::string_view::npos) return fail(UapiError::protocol, "it has no '='; write key=value");
  const std::string_view key = line.substr(0, equals);
  const std::string_view value = line.substr(equals + 1);
  if (key == "public_key") {
    in_peer_ = true;
    parse_public_key(value);
  } else if (in_peer_) {
    parse_peer_line(key, value);
  } else {
    parse_device_line(key, value);
  }
}

void SetParser::parse_device_line(std::string_view key, std::string_view value) {
  if (key == "private_key") return parse_secret_key(Field::private_key, key, value);
  if (key == "listen_port") return parse_number(Field::listen_port, key, value);
  if (key == "source_ports") return parse_source_ports(value);
  if (key == "fwmark") return parse_number(Field::fwmark, key, value);
  if (key == "workers") return parse_number(Field::workers, key, value);
  if (key == "replace_peers") return parse_switch(Field::replace_peers, key, value);
  fail(UapiError::invalid,
       fmt::format("{} is not a key of the device (private_key, listen_port, source_ports, fwmark, workers, "
                   "replace_peers); "
                   "a peer's keys come after its public_key line",
                   device::quote_name(key)));
}

void SetParser::parse_peer_line(std::string_view key, std::string_view value) {
  if (key == "update_only") return parse_switch(Field::update_only, key, value);
  if (key == "remove") return parse_switch(Field::remove, key, value);
  if (key == "replace_allowed_ips") return parse_switch(Field::replace_allowed_ips, key, value);
  if (key == "preshared_key") return parse_secret_key(Field::preshared_key, key, value);
  if (key == "endpoint") return parse_endpoint(value);
  if (key == "persistent_keepalive_interval") return parse_number(Field::persistent_keepalive_interval, key, value);
  if (key == "source_ports") return parse_number(Field::peer_source_ports, key, value);
  if (key == "allowed_ip") return parse_allowed_ip(value);
  if (key == "group") return parse_group(value);
  if (key != "protocol_version") {
    fail(UapiError::invalid,
         fmt::format("{} is not a key of a peer (update_only, remove, replace_allowed_ips, "
                     "preshared_key, endpoint, persistent_keepalive_interval, source_ports, "
                     "group, allowed_ip, protocol_version); the device's keys come before the first public_key line",
                     device::quote_name(key)));
  } else if (value == "1") {
    add({});
  } else {
    fail(UapiError::invalid,
         fmt::format("protocol_version={} is unknown; there is only version 1", device::quote(value)));
  }
}

// Keys are never quoted.
void SetParser::parse_public_key(std::string_view value) {
  if (const auto parsed = device::key_from_hex(value))
    add({Field::public_key, *parsed});
  else
    fail(UapiError::invalid, fmt::format("the value of public_key is not a key: {}", kKeyForm));
}

void SetParser::parse_secret_key(Field field, std::string_view key, std::string_view value) {
  if (auto parsed = device::secret_key_from_hex(value))
    add({field, std::move(*parsed)});
  else
    fail(UapiError::invalid, fmt::format("the value of {} is not a key: {}", key, kKeyForm));
}

void SetParser::parse_number(Field field, std::string_view key, std::string_view value) {
  const NumberField number = number_field(field);
  if (const auto parsed = device::parse_decimal(value, number.greatest))
    add({field, static_cast<uint32_t>(*parsed)});
  else
    fail(UapiError::invalid, fmt::format("{}={} is not {}", key, device::quote(value), number.form));
}

void SetParser::parse_switch(Field field, std::string_view key, std::string_view value) {
  if (value == "true")
    add({field});
  else
    fail(UapiError::invalid,
         fmt::format("{}={} is not 'true', its only value; leave the line out", key, device::quote(value)));
}

void SetParser::parse_source_ports(std::string_view value) {
  if (const auto ports = io::parse_source_ports(value))
    add({Field::source_ports, *ports});
  else
    fail(UapiError::invalid, fmt::format("source_ports={} is neither a number of ports, 1 (off) to 128, nor a range of "
                                         "128 at most, such as 40000-40007",
                                         device::quote(value)));
}

void SetParser::parse_endpoint(std::string_view value) {
  io::Endpoint endpoint;
  if (io::parse_endpoint(std::string(value), endpoint))
    add({Field::endpoint, endpoint});
  else
    fail(UapiError::invalid, fmt::format("endpoint={} is not ADDRESS:PORT, such as 192.0.2.1:51820 or "
                                         "[2001:db8::1]:51820",
                                         device::quote(value)));
}

void SetParser::parse_allowed_ip(std::string_view value) {
  const bool remove = value.starts_with('-');
  const auto prefix = device::parse_prefix(value.substr(remove ? 1 : 0), device::PrefixLength::required);
  if (prefix)
    add({remove ? Field::remove_allowed_ip : Field::add_allowed_ip, device::masked(*prefix)});
  else
    fail(UapiError::invalid, fmt::format("allowed_ip={} is not ADDRESS/LENGTH, such as 192.0.2.0/24 or 2001:db8::/32, "
                                         "with a '-' before it to take it away",
                                         device::quote(value)));
}

void SetParser::parse_group(std::string_view value) {
  if (value.empty() || device::is_group_name(value))
    add({Field::group, std::string(value)});
  else
    fail(UapiError::invalid, fmt::format("group={} is not a name, 1 to {} letters, digits, '.', '_' or '-'; nothing "
                                         "behind the '=' takes the peer out of its group",
                                         device::quote(value), device::kMaxGroupNameBytes));
}

void SetParser::add(Change change) {
  if (!operation_.add(std::move(change)))
    fail(UapiError::too_long, fmt::format("a set operation has {} lines at most; send several", kMaxUapiLines));
}

void SetParser::end(bool complete) {
  finished_ = true;
  if (const auto refusal = operation_.apply(target_, complete)) set_error(refusal->line, refusal->error, refusal->text);
  operation_.clear();
}

// An earlier line that the device refuses comes first.
void SetParser::fail(UapiError error, const std::string& text) {
  if (finished_) return;
  end(false);
  if (error_ == UapiError::none) set_error(line_number_, error, text);
}

void SetParser::set_error(size_t line, UapiError error, const std::string& text) {
  error_ = error;
  error_text_ =
      fmt::format("UAPI set, line {}: {} (errno={}; earlier lines stay applied)", line, text, static_cast<int>(error));
}

namespace {

void append_key_line(crypto::SecretString& out, std::string_view name, std::span<const uint8_t, 32> key) {
  out += name;
  out += '=';
  device::append_hex(out, key);
  out += '\n';
}

void append_number_line(crypto::SecretString& out, std::string_view name, uint64_t value) {
  fmt::format_to(std::back_inserter(out), "{}={}\n", name, value);
}

void append_peer(crypto::SecretString& out, const device::PeerState& peer) {
  append_key_line(out, "public_key", peer.public_key);
  append_key_line(out, "preshared_key", peer.preshared_key.bytes());
  out += "protocol_version=1\n";
  if (peer.endpoint) fmt::format_to(std::back_inserter(out), "endpoint={}\n", io::to_string(*peer.endpoint));
  append_number_line(out, "last_handshake_time_sec", peer.last_handshake_seconds);
  append_number_line(out, "last_handshake_time_nsec", peer.last_handshake_nanoseconds);
  append_number_line(out, "tx_bytes", peer.sent_bytes);
  append_number_line(out, "rx_bytes", peer.received_bytes);
  append_number_line(out, "persistent_keepalive_interval", peer.persistent_keepalive_seconds);
  if (peer.source_ports != 0) append_number_line(out, "source_ports", peer.source_ports);
  // Not one of wireguard-go's, which wg(8) passes over. Before the allowed IPs, or setting them again would take those
  // that members share from one another.
  if (!peer.group.empty()) fmt::format_to(std::back_inserter(out), "group={}\n", peer.group);
  for (const device::Prefix& prefix : peer.allowed_ips) {
    out += "allowed_ip=";
    device::append_prefix(out, prefix);
    out += '\n';
  }
}

}  // namespace

crypto::SecretString print_get(const device::DeviceState& state) {
  constexpr size_t kUsualPeerBytes = 400;
  constexpr size_t kUsualAllowedIpBytes = 34;
  size_t expected_bytes = kUsualPeerBytes;
  for (const device::PeerState& peer : state.peers)
    expected_bytes += kUsualPeerBytes + kUsualAllowedIpBytes * peer.allowed_ips.size();
  crypto::SecretString out;
  out.reserve(expected_bytes);
  if (!state.private_key.is_zero()) append_key_line(out, "private_key", state.private_key.bytes());
  if (state.listen_port != 0) append_number_line(out, "listen_port", state.listen_port);
  // wg(8) passes by keys that it does not know.
  if (state.source_ports != io::SourcePorts())
    fmt::format_to(std::back_inserter(out), "source_ports={}\n", io::to_string(state.source_ports));
  if (state.fwmark != 0) append_number_line(out, "fwmark", state.fwmark);
  if (state.workers != 0) append_number_line(out, "workers", state.workers);
  for (const device::PeerState& peer : state.peers) append_peer(out, peer);
  return out;
}

}  // namespace culvert::uapi
