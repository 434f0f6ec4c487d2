// Settings of an interface in our network namespace, by rtnetlink.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "io/result.h"
#include "src/device/encoding.h"

namespace culvert::host {

io::Status set_link_mtu(const std::string& interface_name, uint32_t mtu_bytes);
io::Status set_link_up(const std::string& interface_name);

// Keeps the kernel from giving the interface a link-local IPv6 address when it comes up (addrgenmode none), and so from
// soliciting routers through it. The kernel's own WireGuard interfaces behave like that. Addresses that are there stay.
// Where IPv6 is off there is nothing to do: a success.
io::Status forgo_link_local_address(const std::string& interface_name);

// Adds each address with its prefix length (and so its on-link route once the link is up). One that is there
// already is no error; an IPv6 address where IPv6 is switched off is EACCES, EAFNOSUPPORT or EOPNOTSUPP, and the error
// says how to switch it on.
io::Status add_link_addresses(const std::string& interface_name, std::span<const device::Prefix> addresses);

// One that is not there is as good as removed.
io::Status remove_link_address(const std::string& interface_name, const device::Prefix& address);

}  // namespace culvert::host
