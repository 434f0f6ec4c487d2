#include "bench/traffic/source_addresses.h"

#include <algorithm>

namespace culvert::traffic {
namespace {

constexpr unsigned kIpv4Bits = 32;
constexpr unsigned kIpv6Bits = 128;
constexpr unsigned kIpv6SiteBits = 64;
constexpr unsigned kMaxHostBits = 31;

}  // namespace

io::Address source_address(const protocol::Prefix& prefix, uint32_t number) {
  const bool v4 = prefix.version == protocol::IpVersion::v4;
  io::Address address{prefix.address, v4 ? io::Family::v4 : io::Family::v6};
  // The host number is put before this bit.
  const unsigned end = v4 ? kIpv4Bits : prefix.cidr < kIpv6SiteBits ? kIpv6SiteBits : kIpv6Bits;
  const unsigned host_bits = std::min(end - prefix.cidr, kMaxHostBits);
  if (host_bits == 0) return address;
  const uint32_t host = 1 + number % ((uint32_t{1} << host_bits) - 1);
  for (unsigned i = 0; i < sizeof host; ++i) address.bytes[end / 8 - 1 - i] |= static_cast<uint8_t>(host >> (8 * i));
  if (!v4 && end == kIpv6SiteBits) address.bytes[15] |= 1;
  return address;
}

}  // namespace culvert::traffic
