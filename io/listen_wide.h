// Listening on a whole range of ports, and on prefixes of addresses that lead to this host, with one set of sockets.
//
// The kernel asks a program of ours (sk_lookup, Linux 5.9) before it looks for a bound socket. What the program takes
// goes to one socket of the device's base port, and so to the worker that its steering chooses. Connected sockets of
// others come before it; sockets that are only bound to a port of the range get nothing any more, so a range should lie
// outside of net.ipv4.ip_local_port_range. Addresses have to be local: `ip route add local 198.51.100.0/24 dev lo`.
//
// Answers leave from the address and the port that were asked: the address by IP_PKTINFO (IPV6_FREEBIND lets IPv6 do
// what IPv4 may anyway), the port by a socket that is bound to it for that (io/port_senders.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"
#include "io/udp_socket_group.h"

namespace culvert::io {

// What a device listens on beside its own port. A value.
struct WideRange {
  static constexpr size_t kMostPrefixes = 16;
  struct Prefix {
    Address address;
    uint8_t length = 0;

    bool operator==(const Prefix&) const = default;
  };
  uint16_t first_port = 0, last_port = 0;  // 0: the device's own port only
  std::vector<Prefix> prefixes;            // none: every address of this host

  bool has_ports() const { return first_port != 0; }
  bool operator==(const WideRange&) const = default;
};

// Reads words: at most one range of ports, "40000-49999", and at most kMostPrefixes prefixes, "198.51.100.0/24" or an
// address. Nothing if there is another word, or none.
std::optional<WideRange> parse_wide_range(std::string_view text);

// Thread safety: none, the control thread's. Destroying it ends the wide listening, at once.
class WideListener {
 public:
  // Brings the datagrams of `range`, which has ports, to the sockets of `group` on its base port, in the network
  // namespace of these. The group has to be steered by eBPF, or to have one member and no steering. Errors: EPERM
  // without CAP_BPF and CAP_NET_ADMIN, EINVAL for an old kernel, those of bpf(2), of sockets, and EOPNOTSUPP for a
  // build without eBPF.
  static Result<std::unique_ptr<WideListener>> open(const WideRange& range, UdpSocketGroup& group);

 private:
  WideListener() = default;

  Status load(const WideRange& range, UdpSocketGroup& group);
  Status add_target(Family family, UdpSockets& first, int targets);

  // Members of the groups that no table names: a socket cannot be in the map of a group's members and in that of the
  // targets at once.
  Fd v4_, v6_;
  Fd link_;  // while it is open, the program is asked
};

}  // namespace culvert::io
