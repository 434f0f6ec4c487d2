// Where a peer's datagrams go and where they come from: a plain value, small enough to copy per train.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace culvert::io {

enum class Family : uint8_t { none = 0, v4 = 4, v6 = 6 };

// An IP address in network byte order; a v4 address uses the first four bytes and the rest are zero.
struct Address {
  std::array<uint8_t, 16> bytes{};
  Family family = Family::none;

  bool operator==(const Address&) const = default;
};

// A remote UDP endpoint and the local address that its last authenticated datagram was sent to (the sticky
// source; Family::none when the kernel shall choose).
struct Endpoint {
  Address remote;
  Address source;
  uint32_t scope_id = 0;  // interface of a link-local v6 remote, else 0
  uint16_t port = 0;      // remote port, host byte order

  bool valid() const { return remote.family != Family::none; }
  bool same_remote(const Endpoint& other) const {
    return remote == other.remote && port == other.port && scope_id == other.scope_id;
  }
  bool operator==(const Endpoint&) const = default;
};

// "192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%3]:51820"; "" for an invalid endpoint.
std::string to_string(const Endpoint& endpoint);

// Parses what to_string() prints (scope by interface name or number). False when it is not one, `out`
// untouched.
bool parse_endpoint(const std::string& text, Endpoint& out);

}  // namespace culvert::io
