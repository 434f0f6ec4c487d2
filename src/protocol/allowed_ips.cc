#include "src/protocol/allowed_ips.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace culvert::protocol {

namespace {

template <size_t kWords>
AddressBits<kWords> load(const uint8_t* address) {
  AddressBits<kWords> bits;
  for (size_t i = 0; i < kWords; ++i) {
    const uint8_t* word = address + 4 * i;
    bits[i] = uint32_t{word[0]} << 24 | uint32_t{word[1]} << 16 | uint32_t{word[2]} << 8 | uint32_t{word[3]};
  }
  return bits;
}

template <size_t kWords>
Prefix to_prefix(const AddressBits<kWords>& bits, uint8_t cidr) {
  Prefix prefix{.address = {}, .version = kWords == 1 ? IpVersion::v4 : IpVersion::v6, .cidr = cidr};
  for (size_t i = 0; i < 4 * kWords; ++i) prefix.address[i] = static_cast<uint8_t>(bits[i / 4] >> (24 - 8 * (i % 4)));
  return prefix;
}

// How many leading bits two addresses have in common.
template <size_t kWords>
unsigned common_bits(const AddressBits<kWords>& a, const AddressBits<kWords>& b) {
  for (unsigned i = 0; i < kWords; ++i) {
    const uint32_t difference = a[i] ^ b[i];
    if (difference != 0) return 32 * i + static_cast<unsigned>(std::countl_zero(difference));
  }
  return 32 * kWords;
}

template <size_t kWords>
unsigned bit_at(const AddressBits<kWords>& bits, unsigned position) {
  return bits[position / 32] >> (31 - position % 32) & 1;
}

template <size_t kWords>
AddressBits<kWords> masked(AddressBits<kWords> bits, unsigned cidr) {
  for (unsigned i = 0; i < kWords; ++i) {
    const unsigned kept = cidr <= 32 * i ? 0 : std::min(cidr - 32 * i, 32u);
    if (kept < 32) bits[i] &= ~(0xffffffffu >> kept);
  }
  return bits;
}

}  // namespace

template <size_t kWords>
uint32_t PrefixTrie<kWords>::find(const Bits& address) const {
  uint32_t found = kNoValue;
  for (uint32_t n = root_; n != kNone;) {
    const Node& node = nodes_[n];
    // Branches are not compared: what is below one that does not contain the address does not either.
    if (node.value() != kNoValue) {
      if (common_bits(node.bits, address) < node.cidr()) break;
      found = node.value();
      if (node.cidr() == 32 * kWords) break;
    }
    n = node.children[bit_at(address, node.cidr())];
  }
  return found;
}

template <size_t kWords>
uint32_t PrefixTrie<kWords>::value_of(Bits bits, uint8_t cidr) const {
  bits = masked(bits, cidr);
  uint32_t n = root_;
  while (n != kNone && nodes_[n].cidr() < cidr) n = nodes_[n].children[bit_at(bits, nodes_[n].cidr())];
  return n != kNone && nodes_[n].cidr() == cidr && nodes_[n].bits == bits ? nodes_[n].value() : kNoValue;
}

template <size_t kWords>
uint32_t& PrefixTrie<kWords>::at(const Place& place) {
  return place.parent == kNone ? root_ : nodes_[place.parent].children[place.side];
}

template <size_t kWords>
typename PrefixTrie<kWords>::Place PrefixTrie<kWords>::descend(const Bits& bits, uint8_t cidr, Place* above) {
  Place place;
  for (uint32_t n = at(place); n != kNone; n = at(place)) {
    const Node& node = nodes_[n];
    if (node.cidr() >= cidr || common_bits(node.bits, bits) < node.cidr()) break;
    if (above != nullptr) *above = place;
    place = Place{.parent = n, .side = bit_at(bits, node.cidr())};
  }
  return place;
}

template <size_t kWords>
void PrefixTrie<kWords>::insert(Bits bits, uint8_t cidr, uint32_t value, std::vector<List>& lists) {
  bits = masked(bits, cidr);
  const Place place = descend(bits, cidr, nullptr);
  const uint32_t below = at(place);
  if (below != kNone && nodes_[below].cidr() == cidr && nodes_[below].bits == bits) {
    const uint32_t old = nodes_[below].value();
    if (old == kNoValue)
      ++size_;
    else
      unlink(below, lists[old]);
    nodes_[below].set_value(value);
    link(below, lists[value]);
    return;
  }

  const uint32_t fresh = make_node(bits, cidr, value);
  link(fresh, lists[value]);
  ++size_;
  if (below == kNone) {
    at(place) = fresh;
    return;
  }
  const unsigned common = std::min<unsigned>(cidr, common_bits(nodes_[below].bits, bits));
  if (common == cidr) {
    nodes_[fresh].children[bit_at(nodes_[below].bits, cidr)] = below;
    at(place) = fresh;
  } else {
    const uint32_t branch = make_node(masked(bits, common), static_cast<uint8_t>(common), kNoValue);
    const unsigned side = bit_at(bits, common);
    nodes_[branch].children[side] = fresh;
    nodes_[branch].children[1 - side] = below;
    at(place) = branch;
  }
}

template <size_t kWords>
bool PrefixTrie<kWords>::remove(Bits bits, uint8_t cidr, uint32_t value, std::vector<List>& lists) {
  bits = masked(bits, cidr);
  Place above;
  const Place place = descend(bits, cidr, &above);
  const uint32_t n = at(place);
  if (n == kNone || nodes_[n].cidr() != cidr || nodes_[n].bits != bits || nodes_[n].value() != value) return false;
  unlink(n, lists[value]);
  nodes_[n].set_value(kNoValue);
  --size_;

  // Invariant 2: nothing but branches may do without a value.
  if (!collapse(place)) return true;
  if (at(place) == kNone && place.parent != kNone && nodes_[place.parent].value() == kNoValue) collapse(above);
  return true;
}

template <size_t kWords>
bool PrefixTrie<kWords>::collapse(const Place& place) {
  const uint32_t n = at(place);
  const auto [left, right] = nodes_[n].children;
  if (left != kNone && right != kNone) return false;
  at(place) = left != kNone ? left : right;
  links_[n].next = free_;
  free_ = n;
  return true;
}

template <size_t kWords>
void PrefixTrie<kWords>::remove_all(uint32_t value, std::vector<List>& lists) {
  for (uint32_t n = lists[value].head; n != kNone; n = lists[value].head)
    remove(nodes_[n].bits, nodes_[n].cidr(), value, lists);
  // An empty table needs no memory; a table that shrank keeps what it had for the next prefixes.
  if (size_ == 0) *this = PrefixTrie();
}

template <size_t kWords>
size_t PrefixTrie<kWords>::memory_bytes() const {
  return nodes_.capacity() * sizeof(Node) + links_.capacity() * sizeof(Link);
}

template <size_t kWords>
uint32_t PrefixTrie<kWords>::make_node(const Bits& bits, uint8_t cidr, uint32_t value) {
  const Node node{.bits = bits, .children = {kNone, kNone}, .cidr_and_value = uint32_t{cidr} << 24 | value};
  if (free_ != kNone) {
    const uint32_t n = free_;
    free_ = links_[n].next;
    nodes_[n] = node;
    links_[n] = Link{};
    return n;
  }
  nodes_.push_back(node);
  links_.emplace_back();
  return static_cast<uint32_t>(nodes_.size() - 1);
}

template <size_t kWords>
void PrefixTrie<kWords>::link(uint32_t node, List& list) {
  links_[node] = Link{.previous = list.tail, .next = kNone};
  (list.tail == kNone ? list.head : links_[list.tail].next) = node;
  list.tail = node;
}

template <size_t kWords>
void PrefixTrie<kWords>::unlink(uint32_t node, List& list) {
  const Link link = links_[node];
  (link.previous == kNone ? list.head : links_[link.previous].next) = link.next;
  (link.next == kNone ? list.tail : links_[link.next].previous) = link.previous;
}

template class PrefixTrie<1>;
template class PrefixTrie<4>;

bool AllowedIps::insert(const Prefix& prefix, PeerHandle peer) {
  if (!is_valid(prefix)) return false;
  assert(peer != nullptr);
  const uint32_t value = make_value(peer);
  if (prefix.version == IpVersion::v4)
    v4_.insert(load<1>(prefix.address.data()), prefix.cidr, value, lists4_);
  else
    v6_.insert(load<4>(prefix.address.data()), prefix.cidr, value, lists6_);
  return true;
}

bool AllowedIps::remove(const Prefix& prefix, PeerHandle peer) {
  const auto entry = values_.find(peer);
  if (entry == values_.end() || !is_valid(prefix)) return false;
  if (prefix.version == IpVersion::v4)
    return v4_.remove(load<1>(prefix.address.data()), prefix.cidr, entry->second, lists4_);
  return v6_.remove(load<4>(prefix.address.data()), prefix.cidr, entry->second, lists6_);
}

void AllowedIps::remove_all(PeerHandle peer) {
  const auto entry = values_.find(peer);
  if (entry == values_.end()) return;
  const uint32_t value = entry->second;
  v4_.remove_all(value, lists4_);
  v6_.remove_all(value, lists6_);
  peers_[value] = nullptr;
  free_values_.push_back(value);
  values_.erase(entry);
}

void AllowedIps::hand_over(PeerHandle from, PeerHandle to) {
  const auto entry = values_.find(from);
  if (entry == values_.end()) return;
  const uint32_t value = entry->second;
  values_.erase(entry);
  assert(!values_.contains(to));
  values_.emplace(to, value);
  peers_[value] = to;
}

PeerHandle AllowedIps::owner_of(const Prefix& prefix) const {
  if (!is_valid(prefix)) return nullptr;
  const uint8_t* const address = prefix.address.data();
  const uint32_t value = prefix.version == IpVersion::v4 ? v4_.value_of(load<1>(address), prefix.cidr)
                                                         : v6_.value_of(load<4>(address), prefix.cidr);
  return value != v4_.kNoValue ? peers_[value] : nullptr;
}

PeerHandle AllowedIps::find_v4(const uint8_t* address) const {
  const uint32_t value = v4_.find(load<1>(address));
  return value != v4_.kNoValue ? peers_[value] : nullptr;
}

PeerHandle AllowedIps::find_v6(const uint8_t* address) const {
  const uint32_t value = v6_.find(load<4>(address));
  return value != v6_.kNoValue ? peers_[value] : nullptr;
}

void AllowedIps::for_each(PeerHandle peer, const std::function<void(const Prefix&)>& visit) const {
  const auto entry = values_.find(peer);
  if (entry == values_.end()) return;
  const auto visit_bits = [&visit](const auto& bits, uint8_t cidr) { visit(to_prefix(bits, cidr)); };
  v4_.for_each(lists4_[entry->second], visit_bits);
  v6_.for_each(lists6_[entry->second], visit_bits);
}

size_t AllowedIps::memory_bytes() const {
  // A handle is a pointer, and that is what is counted. NOLINTNEXTLINE(bugprone-sizeof-expression)
  return v4_.memory_bytes() + v6_.memory_bytes() + peers_.capacity() * sizeof(PeerHandle) +
         (lists4_.capacity() + lists6_.capacity()) * sizeof(PrefixTrie<1>::List);
}

uint32_t AllowedIps::make_value(PeerHandle peer) {
  const auto [entry, is_new] = values_.try_emplace(peer, 0);
  if (!is_new) return entry->second;
  if (free_values_.empty()) {
    entry->second = static_cast<uint32_t>(peers_.size());
    peers_.push_back(peer);
    lists4_.emplace_back();
    lists6_.emplace_back();
  } else {
    entry->second = free_values_.back();
    free_values_.pop_back();
    peers_[entry->second] = peer;
  }
  return entry->second;
}

}  // namespace culvert::protocol
