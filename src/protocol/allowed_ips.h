// Allowed IPs: which peer an inner address belongs to, by longest prefix (WireGuard paper section 2,
// "cryptokey routing"). One path-compressed binary trie for each IP version, in flat arrays with 32-bit
// links, so that copying a whole table is a few memcpys: a copy is published at each change.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "src/protocol/peer_handle.h"

namespace culvert::protocol {

enum class IpVersion : uint8_t { v4 = 4, v6 = 6 };

// An address block. Bits behind the first `cidr` are ignored on the way in and zero on the way out.
struct Prefix {
  std::array<uint8_t, 16> address{};  // network byte order; v4 uses the first four bytes
  IpVersion version = IpVersion::v4;
  uint8_t cidr = 0;  // 0..32, 0..128

  bool operator==(const Prefix&) const = default;
};

// True when the cidr fits the version.
constexpr bool is_valid(const Prefix& prefix) {
  return prefix.cidr <= (prefix.version == IpVersion::v4 ? 32 : 128);
}

// 128 (or, for v4, 32) address bits in words of host order, most significant first.
template <size_t kWords>
using AddressBits = std::array<uint32_t, kWords>;

// The trie of one IP version; the values are small numbers that AllowedIps hands out.
//
// Invariants: 1. a node's prefix is a proper extension of its parent's; 2. a node without a value has two
// children; 3. nodes with a value are linked to a list per value, in order of insertion.
template <size_t kWords>
class PrefixTrie {
 public:
  using Bits = AddressBits<kWords>;
  static constexpr uint32_t kNone = 0xffffffff;     // no node
  static constexpr uint32_t kNoValue = 0x00ffffff;  // also the greatest value + 1

  // The nodes of one value.
  struct List {
    uint32_t head = kNone, tail = kNone;
  };

  // The value of the longest prefix of `address`, or kNoValue.
  uint32_t find(const Bits& address) const;

  // The value of this very prefix, or kNoValue.
  uint32_t value_of(Bits bits, uint8_t cidr) const;

  // Sets the value of a prefix, whatever it had before; lists[value] gets it at its end.
  void insert(Bits bits, uint8_t cidr, uint32_t value, std::vector<List>& lists);

  // Removes a prefix if it has this value.
  bool remove(Bits bits, uint8_t cidr, uint32_t value, std::vector<List>& lists);

  // Removes every prefix of lists[value].
  void remove_all(uint32_t value, std::vector<List>& lists);

  // Visits the prefixes of a list in order of insertion.
  template <class Visit>
  void for_each(const List& list, Visit&& visit) const {
    for (uint32_t n = list.head; n != kNone; n = links_[n].next) visit(nodes_[n].bits, nodes_[n].cidr());
  }

  size_t size() const { return size_; }
  size_t memory_bytes() const;

 private:
  // Hot: all that find() reads.
  struct Node {
    Bits bits;
    std::array<uint32_t, 2> children{kNone, kNone};
    uint32_t cidr_and_value;  // 8 and 24 bits

    uint8_t cidr() const { return static_cast<uint8_t>(cidr_and_value >> 24); }
    uint32_t value() const { return cidr_and_value & kNoValue; }
    void set_value(uint32_t value) { cidr_and_value = (cidr_and_value & 0xff000000) | value; }
  };
  // Cold: the list of the node's value; of a free node, `next` is the next free one.
  struct Link {
    uint32_t previous = kNone, next = kNone;
  };

  // Where a link to a node stands: the root, or one side of another node.
  struct Place {
    uint32_t parent = kNone;
    uint32_t side = 0;
  };

  uint32_t& at(const Place& place);

  // Follows a prefix as far as nodes shorter than it contain it; `above` is the place of the last of them.
  Place descend(const Bits& bits, uint8_t cidr, Place* above);

  // A node that has just lost its value, or a child: takes it out if it is no branch. True if it did.
  bool collapse(const Place& place);

  uint32_t make_node(const Bits& bits, uint8_t cidr, uint32_t value);
  void link(uint32_t node, List& list);
  void unlink(uint32_t node, List& list);

  std::vector<Node> nodes_;
  std::vector<Link> links_;
  uint32_t root_ = kNone;
  uint32_t free_ = kNone;
  size_t size_ = 0;
};

// Thread safety: none; as a value that nobody changes any more it may be read from any thread. The control
// thread owns the one that it changes and publishes copies of it.
class AllowedIps {
 public:
  // Gives the prefix to `peer`, and takes it from whoever had it. False if the cidr is too long for the
  // version (nothing has changed). `peer` is not null.
  bool insert(const Prefix& prefix, PeerHandle peer);

  // Takes the prefix from `peer`. False if it is not its.
  bool remove(const Prefix& prefix, PeerHandle peer);

  // Takes every prefix from `peer`; time is linear in their number.
  void remove_all(PeerHandle peer);

  // Gives every prefix of `from` to `to`, which has none; takes no longer for many.
  void hand_over(PeerHandle from, PeerHandle to);

  // Who has this very prefix, and not only a longer or a shorter one; null: nobody.
  PeerHandle owner_of(const Prefix& prefix) const;

  // The peer with the longest prefix of this address (4 or 16 bytes in network order), or null.
  PeerHandle find_v4(const uint8_t* address) const;
  PeerHandle find_v6(const uint8_t* address) const;

  // Visits the prefixes of `peer`: v4 before v6, each in order of insertion.
  void for_each(PeerHandle peer, const std::function<void(const Prefix&)>& visit) const;

  size_t size() const { return v4_.size() + v6_.size(); }
  size_t memory_bytes() const;

 private:
  uint32_t make_value(PeerHandle peer);

  PrefixTrie<1> v4_;
  PrefixTrie<4> v6_;
  std::vector<PeerHandle> peers_;  // by value; null: free
  std::vector<PrefixTrie<1>::List> lists4_;
  std::vector<PrefixTrie<4>::List> lists6_;
  std::vector<uint32_t> free_values_;
  std::unordered_map<PeerHandle, uint32_t> values_;
};

}  // namespace culvert::protocol
