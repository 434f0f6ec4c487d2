#include "io/local_addresses.h"

#include <ifaddrs.h>

#include <algorithm>
#include <cstring>

#include "io/udp_message.h"

namespace culvert::io {

std::vector<Address> read_local_addresses() {
  std::vector<Address> addresses;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return addresses;
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    const sa_family_t family = one->ifa_addr != nullptr ? one->ifa_addr->sa_family : sa_family_t{AF_UNSPEC};
    SocketAddress address{};
    if (family == AF_INET) std::memcpy(&address.v4, one->ifa_addr, sizeof address.v4);
    if (family == AF_INET6) std::memcpy(&address.v6, one->ifa_addr, sizeof address.v6);
    if (family == AF_INET || family == AF_INET6) addresses.push_back(address_of(address));
  }
  freeifaddrs(first);
  return addresses;
}

bool LocalAddresses::contain(const Address& address, std::chrono::nanoseconds now) {
  if (!read_at_ || now - *read_at_ >= kFreshFor) {
    addresses_ = read_();
    read_at_ = now;
  }
  return addresses_.empty() || std::ranges::find(addresses_, address) != addresses_.end();
}

}  // namespace culvert::io
