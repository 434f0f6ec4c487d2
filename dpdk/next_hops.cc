#include "dpdk/next_hops.h"

#include <algorithm>
#include <utility>

namespace culvert::dpdk {
namespace {

bool is_less(const io::Address& a, const io::Address& b) {
  return a.family != b.family ? a.family < b.family : a.bytes < b.bytes;
}

bool is_within(const io::Address& prefix, uint8_t prefix_bits, const io::Address& remote) {
  if (prefix.family != remote.family) return false;
  const size_t whole = prefix_bits / 8U, rest = prefix_bits % 8U;
  if (!std::equal(remote.bytes.begin(), remote.bytes.begin() + static_cast<long>(whole), prefix.bytes.begin()))
    return false;
  return rest == 0 || (prefix.bytes[whole] ^ remote.bytes[whole]) >> (8 - rest) == 0;
}

}  // namespace

void NextHops::sort_neighbours() {
  std::sort(
      neighbours.begin(), neighbours.end(),
      [](const Neighbour& a, const Neighbour& b) { return is_less(a.address, b.address); });
}

bool NextHops::is_own(const io::Address& address) const {
  return std::any_of(
      addresses.begin(), addresses.end(), [&](const OwnAddress& own) { return own.address == address; });
}

const NextHops::Route* NextHops::route_to(const io::Address& remote) const {
  for (const Route& route : routes)
    if (is_within(route.prefix, route.prefix_bits, remote)) return &route;
  return nullptr;
}

const io::Address* NextHops::source_for(const io::Address& remote) const {
  const Route* const route = route_to(remote);
  if (route != nullptr && is_own(route->source)) return &route->source;
  const io::Address hop = hop_to(remote).value_or(remote);
  const io::Address* first = nullptr;
  for (const OwnAddress& own : addresses) {
    if (own.address.family != remote.family) continue;
    // A gateway may have an address of the link alone, which does not make ours one that hosts behind it can answer.
    if (is_link_local(own.address) == is_link_local(remote) && is_within(own.address, own.prefix_bits, hop))
      return &own.address;
    if (first == nullptr) first = &own.address;
  }
  return first;
}

std::optional<io::Address> NextHops::hop_to(const io::Address& remote) const {
  if (const Route* const route = route_to(remote))
    return route->gateway.family != io::Family::none ? route->gateway : remote;
  if (!routes.empty()) return std::nullopt;
  if (std::any_of(addresses.begin(), addresses.end(),
                  [&](const OwnAddress& own) { return is_within(own.address, own.prefix_bits, remote); }))
    return remote;
  for (const io::Address& gateway : gateways)
    if (gateway.family == remote.family) return gateway;
  return std::nullopt;
}

const MacAddress* NextHops::find(const io::Address& remote) const {
  const std::optional<io::Address> hop = hop_to(remote);
  if (!hop) return nullptr;
  const auto found = std::lower_bound(
      neighbours.begin(), neighbours.end(), *hop,
      [](const Neighbour& neighbour, const io::Address& address) { return is_less(neighbour.address, address); });
  return found != neighbours.end() && found->address == *hop ? &found->mac : nullptr;
}

void PublishedNextHops::publish(NextHops next) {
  next.sort_neighbours();
  std::atomic_store(&current_, std::make_shared<const NextHops>(std::move(next)));
  version_.fetch_add(1, std::memory_order_release);  // pairs with the acquire in Reader::refresh()
}

// A snapshot that is newer than the version is taken again by the next refresh, which does no harm.
void PublishedNextHops::Reader::take(uint64_t version) {
  held_ = std::atomic_load(&published_.current_);
  version_ = version;
}

}  // namespace culvert::dpdk
