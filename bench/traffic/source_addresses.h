// Many local addresses to send from.
#pragma once

#include <cstdint>

#include "io/endpoint.h"
#include "src/protocol/allowed_ips.h"

namespace culvert::traffic {

// The address number `number` of the prefix, starting anew after the last. IPv6 prefixes shorter than /64 yield
// addresses in different /64s, which is what responders tell sources by. The first address of a prefix is left out
// where there are others.
io::Address source_address(const protocol::Prefix& prefix, uint32_t number);

}  // namespace culvert::traffic
