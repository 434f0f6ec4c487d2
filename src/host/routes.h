// Routes and routing rules of our network namespace, by rtnetlink.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/endpoint.h"
#include "io/result.h"
#include "src/device/encoding.h"

namespace culvert::host {

enum class Change : uint8_t { add, remove };

// A route to `prefix` through the interface, as `ip route add PREFIX dev IFACE table N` makes it. To add one that is
// there is EEXIST; to remove one that is not is a success. Never touches a route of the kernel's own.
io::Status change_route(Change change, const std::string& interface_name, const device::Prefix& prefix, uint32_t table);

// `ip rule add not fwmark MARK table MARK`. One that is there already is as good as added.
io::Status change_mark_rule(Change change, protocol::IpVersion version, uint32_t mark);

// `ip rule add table main suppress_prefixlength 0`. One more each time; removes the last one.
io::Status change_suppress_rule(Change change, protocol::IpVersion version);

// Whether a routing table has neither IPv4 nor IPv6 routes.
bool is_empty_table(uint32_t table);

// The interfaces by which the kernel has learned an IPv6 default route from a router, and those of `candidates` by
// which it may, in their order: as long as it does not forward (accept_ra is 1). Where a program listens to routers
// instead of the kernel there is none.
std::vector<std::string> interfaces_of_routers(const std::vector<std::string>& candidates);

// The MTU of the way to an address, as the route or else its device has it; 0: there is none.
uint32_t path_mtu(const io::Address& remote);
// Of the first IPv4 default route.
uint32_t default_route_mtu();

}  // namespace culvert::host
