#include "src/uapi/grammar.h"

#include <fmt/format.h>

#include <cstring>
#include <iterator>

#include "crypto/secret.h"

namespace culvert::uapi {
namespace {

// Values are quoted in the log, but not without end, and never with control characters.
std::string quote(std::string_view value) {
  constexpr size_t kLongest = 64;
  std::string out = "'";
  for (const char c : value.substr(0, kLongest)) out.push_back(c >= ' ' && c <= '~' ? c : '?');
  out += value.size() > kLongest ? "...'" : "'";
  return out;
}

constexpr const char* kKeyForm = "a key is 64 hexadecimal digits";

}  // namespace

SetParser::Progress SetParser::feed_line(std::string_view line) {
  if (!finished_) {
    ++line_number_;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty())
      finish();
    else
      apply_line(line);
  }
  return finished_ ? Progress::finished : Progress::more;
}

void SetParser::finish() {
  if (!finished_) {
    leave_peer();
    end();
  }
}

void SetParser::fail_line_too_long() {
  ++line_number_;
  fail(UapiError::io, fmt::format("the line is longer than {} bytes; write one key=value per line", kMaxUapiLineBytes));
}

void SetParser::apply_line(std::string_view line) {
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos) {
    // Might be a piece of a key: not quoted.
    fail(UapiError::protocol, "the line has no '='; write key=value");
    return;
  }
  const std::string_view key = line.substr(0, equals);
  const std::string_view value = line.substr(equals + 1);
  if (key == "public_key") {
    leave_peer();
    select_peer(value);
  } else if (section_ == Section::device) {
    apply_device_line(key, value);
  } else {
    apply_peer_line(key, value);
  }
}

void SetParser::apply_device_line(std::string_view key, std::string_view value) {
  if (key == "private_key") {
    if (auto private_key = device::key_from_hex(value)) {
      check(target_.set_private_key(*private_key), UapiError::unknown, key, "(hidden)");
      crypto::wipe(*private_key);
    } else {
      fail(UapiError::invalid, fmt::format("private_key is no key; {}", kKeyForm));
    }
  } else if (key == "listen_port") {
    if (const auto port = device::parse_decimal(value, UINT16_MAX))
      check(target_.set_listen_port(static_cast<uint16_t>(*port)), UapiError::port_in_use, key, value);
    else
      fail(UapiError::invalid, fmt::format("listen_port={} is no port; use 0 (any) to 65535", quote(value)));
  } else if (key == "fwmark") {
    if (const auto mark = device::parse_decimal(value, UINT32_MAX)) {
      check(target_.set_fwmark(static_cast<uint32_t>(*mark)), UapiError::port_in_use, key, value);
    } else {
      fail(UapiError::invalid,
           fmt::format("fwmark={} is no mark; use a decimal number, 0 (off) to 4294967295", quote(value)));
    }
  } else if (key == "replace_peers") {
    if (value == "true")
      check(target_.remove_all_peers(), UapiError::unknown, key, value);
    else
      fail(UapiError::invalid, fmt::format("replace_peers={}: only 'true' is allowed", quote(value)));
  } else {
    fail(UapiError::invalid, fmt::format("{} is no device key; peer keys need a public_key line first, device "
                                         "keys are private_key, listen_port, fwmark, replace_peers",
                                         quote(key)));
  }
}

void SetParser::select_peer(std::string_view value) {
  section_ = Section::ignored_peer;
  const auto public_key = device::key_from_hex(value);
  if (!public_key) {
    fail(UapiError::invalid, fmt::format("public_key is no key; {}", kKeyForm));
    return;
  }
  device::PeerOrigin origin = device::PeerOrigin::existing;
  const int number = target_.select_peer(*public_key, origin);
  if (number != 0) {
    fail(UapiError::invalid,
         fmt::format("cannot create peer {}: {}", device::short_name(*public_key), std::strerror(number)));
    return;
  }
  peer_ = *public_key;
  peer_created_ = origin == device::PeerOrigin::created;
  section_ = origin == device::PeerOrigin::own_key ? Section::ignored_peer : Section::peer;
}

void SetParser::apply_peer_line(std::string_view key, std::string_view value) {
  const bool apply = section_ == Section::peer;
  if (key == "update_only" || key == "remove" || key == "replace_allowed_ips") {
    apply_peer_switch(key, value);
  } else if (key == "allowed_ip") {
    apply_allowed_ip(value);
  } else if (key == "preshared_key") {
    auto preshared_key = device::key_from_hex(value);
    if (!preshared_key) {
      fail(UapiError::invalid, fmt::format("preshared_key is no key; {}, all zero for none", kKeyForm));
    } else if (apply) {
      check(target_.set_preshared_key(peer_, *preshared_key), UapiError::unknown, key, "(hidden)");
      crypto::wipe(*preshared_key);
    }
  } else if (key == "endpoint") {
    io::Endpoint endpoint;
    if (!io::parse_endpoint(std::string(value), endpoint)) {
      fail(UapiError::invalid,
           fmt::format("endpoint={} is none; use 192.0.2.1:51820 or [2001:db8::1]:51820", quote(value)));
    } else if (apply) {
      check(target_.set_endpoint(peer_, endpoint), UapiError::unknown, key, value);
    }
  } else if (key == "persistent_keepalive_interval") {
    const auto seconds = device::parse_decimal(value, UINT16_MAX);
    if (!seconds) {
      fail(UapiError::invalid,
           fmt::format("persistent_keepalive_interval={} is none; use 0 (off) to 65535 seconds", quote(value)));
    } else if (apply) {
      check(target_.set_persistent_keepalive(peer_, static_cast<uint16_t>(*seconds)), UapiError::unknown, key, value);
    }
  } else if (key == "protocol_version") {
    if (value != "1") fail(UapiError::invalid, fmt::format("protocol_version={}: only 1 exists", quote(value)));
  } else {
    fail(UapiError::invalid,
         fmt::format("{} is no peer key; device keys come before the first public_key line", quote(key)));
  }
}

void SetParser::apply_peer_switch(std::string_view key, std::string_view value) {
  if (value != "true") {
    fail(UapiError::invalid, fmt::format("{}={}: only 'true' is allowed", key, quote(value)));
    return;
  }
  if (section_ != Section::peer) {
    section_ = Section::ignored_peer;
    return;
  }
  if (key == "replace_allowed_ips") {
    check(target_.clear_allowed_ips(peer_), UapiError::unknown, key, value);
  } else if (key == "remove" || peer_created_) {
    section_ = Section::ignored_peer;
    check(target_.remove_peer(peer_), UapiError::unknown, key, value);
  }
}

void SetParser::apply_allowed_ip(std::string_view value) {
  std::string_view text = value;
  const bool remove = !text.empty() && text.front() == '-';
  if (remove) text.remove_prefix(1);
  const auto prefix = device::parse_prefix(text, device::PrefixLength::required);
  if (!prefix) {
    fail(UapiError::invalid,
         fmt::format("allowed_ip={} is none; use 192.0.2.0/24 or 2001:db8::/32, with a leading '-' to remove",
                     quote(value)));
    return;
  }
  if (section_ == Section::peer) {
    const int number = remove ? target_.remove_allowed_ip(peer_, device::masked(*prefix))
                              : target_.add_allowed_ip(peer_, device::masked(*prefix));
    check(number, UapiError::unknown, "allowed_ip", value);
  }
}

void SetParser::leave_peer() {
  if (section_ == Section::peer) target_.finish_peer(peer_);
}

void SetParser::end() {
  finished_ = true;
  target_.end_of_operation();
}

void SetParser::fail(UapiError error, std::string text) {
  if (finished_) return;
  error_ = error;
  error_text_ = fmt::format("UAPI set, line {}: {} (errno={}; earlier lines stay applied)", line_number_, text,
                            static_cast<int>(error));
  end();
}

void SetParser::check(int number, UapiError error, std::string_view key, std::string_view value) {
  if (number != 0) fail(error, fmt::format("the device refuses {}={}: {}", key, quote(value), std::strerror(number)));
}

namespace {

void append_key_line(std::string& out, std::string_view name, const device::Key& key) {
  out += name;
  out += '=';
  device::append_hex(out, key);
  out += '\n';
}

void append_number_line(std::string& out, std::string_view name, uint64_t value) {
  fmt::format_to(std::back_inserter(out), "{}={}\n", name, value);
}

void append_peer(std::string& out, const device::PeerState& peer) {
  append_key_line(out, "public_key", peer.public_key);
  append_key_line(out, "preshared_key", peer.preshared_key);
  out += "protocol_version=1\n";
  if (peer.endpoint) fmt::format_to(std::back_inserter(out), "endpoint={}\n", io::to_string(*peer.endpoint));
  append_number_line(out, "last_handshake_time_sec", peer.last_handshake_seconds);
  append_number_line(out, "last_handshake_time_nsec", peer.last_handshake_nanoseconds);
  append_number_line(out, "tx_bytes", peer.sent_bytes);
  append_number_line(out, "rx_bytes", peer.received_bytes);
  append_number_line(out, "persistent_keepalive_interval", peer.persistent_keepalive_seconds);
  for (const device::Prefix& prefix : peer.allowed_ips) {
    out += "allowed_ip=";
    device::append_prefix(out, prefix);
    out += '\n';
  }
}

}  // namespace

std::string print_get(const device::DeviceState& state) {
  constexpr size_t kUsualPeerBytes = 400;
  constexpr size_t kUsualAllowedIpBytes = 34;
  size_t expected_bytes = kUsualPeerBytes;
  for (const device::PeerState& peer : state.peers)
    expected_bytes += kUsualPeerBytes + kUsualAllowedIpBytes * peer.allowed_ips.size();
  std::string out;
  out.reserve(expected_bytes);
  if (!device::is_zero(state.private_key)) append_key_line(out, "private_key", state.private_key);
  if (state.listen_port != 0) append_number_line(out, "listen_port", state.listen_port);
  if (state.fwmark != 0) append_number_line(out, "fwmark", state.fwmark);
  for (const device::PeerState& peer : state.peers) append_peer(out, peer);
  return out;
}

}  // namespace culvert::uapi
