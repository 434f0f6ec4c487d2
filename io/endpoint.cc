#include "io/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <cstring>
#include <string_view>

#include "io/decimal.h"

namespace culvert::io {
namespace {

bool parse_scope(const std::string& text, uint32_t& out) {
  const std::optional<uint64_t> index = parse_decimal(text, UINT32_MAX);
  out = index ? static_cast<uint32_t>(*index) : if_nametoindex(text.c_str());
  return out != 0;
}

// A v4-mapped address becomes v4: a v6-only socket cannot send to it (RFC 4291, section 2.5.5.2).
void unmap(Address& address) {
  static constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::memcmp(address.bytes.data(), kPrefix, sizeof kPrefix) != 0) return;
  Address v4;
  v4.family = Family::v4;
  std::memcpy(v4.bytes.data(), address.bytes.data() + sizeof kPrefix, 4);
  address = v4;
}

bool parse_v6(std::string text, Endpoint& out) {
  if (const size_t percent = text.find('%'); percent != std::string::npos) {
    if (!parse_scope(text.substr(percent + 1), out.scope_id)) return false;
    text.resize(percent);
  }
  if (inet_pton(AF_INET6, text.c_str(), out.remote.bytes.data()) != 1) return false;
  out.remote.family = Family::v6;
  unmap(out.remote);
  return out.remote.family == Family::v6 || out.scope_id == 0;
}

bool parse_v4(const std::string& text, Endpoint& out) {
  out.remote.family = Family::v4;
  return inet_pton(AF_INET, text.c_str(), out.remote.bytes.data()) == 1;
}

}  // namespace

std::string to_string(const Endpoint& endpoint) {
  if (!endpoint.valid()) return "";
  const bool v6 = endpoint.remote.family == Family::v6;
  char address[INET6_ADDRSTRLEN] = "";
  inet_ntop(v6 ? AF_INET6 : AF_INET, endpoint.remote.bytes.data(), address, sizeof address);
  std::string text = address;
  if (v6) {
    if (endpoint.scope_id != 0) text += '%' + std::to_string(endpoint.scope_id);
    text = '[' + text + ']';
  }
  return text + ':' + std::to_string(endpoint.port);
}

bool parse_endpoint(const std::string& text, Endpoint& out) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || text.find('\0') != std::string::npos) return false;
  const std::optional<uint64_t> port = parse_decimal(std::string_view(text).substr(colon + 1), UINT16_MAX);
  if (!port) return false;
  Endpoint parsed;
  parsed.port = static_cast<uint16_t>(*port);
  const bool bracketed = text.front() == '[' && text[colon - 1] == ']';
  const bool good = bracketed ? parse_v6(text.substr(1, colon - 2), parsed) : parse_v4(text.substr(0, colon), parsed);
  if (good) out = parsed;
  return good;
}

}  // namespace culvert::io
