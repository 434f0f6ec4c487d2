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

// Adds each address with its prefix length (and so its on-link route once the link is up). One that is there
// already is no error.
io::Status add_link_addresses(const std::string& interface_name, std::span<const device::Prefix> addresses);

}  // namespace culvert::host
