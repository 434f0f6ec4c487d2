#include "src/packet/coalesce.h"

#include <array>
#include <cassert>

#include "src/packet/checksum.h"
#include "src/packet/flow_hash.h"
#include "src/packet/ip_header.h"

namespace culvert::packet {
namespace {

// A kernel before 6.9 refuses a UDP superpacket of more than 64 segments (UDP_MAX_SEGMENTS).
constexpr uint16_t kMaxUdpSegments = 64;
// More slots than twice the packets; a flow whose first slots are all taken is not joined, which bounds the
// work that chosen flows can cause.
constexpr uint32_t kSlots = 2048;
constexpr uint32_t kMaxProbes = 8;
constexpr uint16_t kNone = 0xffff;

enum Transport : uint8_t { kTcp, kUdp };

// How the IPv4 ids of a superpacket run. Cutting counts them up; RFC 6864 lets an atomic datagram (don't
// fragment set) have any, and senders that do not count leave it at zero.
enum class IdRun : uint8_t { unknown, counting, zero };

// A packet of TCP or UDP with its ports, as add() compares it with those that are open.
struct Candidate {
  uint8_t* bytes;
  io::Lease* lease;  // the claim on their memory
  const IpHeader& ip;
  Transport transport;
  uint32_t header_length = 0;  // IP and transport header
  bool joinable = false;       // may start or extend a superpacket
  bool ends = false;           // may only be the last of one: PSH
  bool v6() const { return ip.v6(); }
  uint16_t payload() const { return static_cast<uint16_t>(ip.total_length - header_length); }
};

bool same_bytes(const uint8_t* a, const uint8_t* b, uint32_t length) {
  uint64_t difference = 0;
  for (; length >= 8; a += 8, b += 8, length -= 8) difference |= load<uint64_t>(a) ^ load<uint64_t>(b);
  for (; length >= 4; a += 4, b += 4, length -= 4) difference |= load<uint32_t>(a) ^ load<uint32_t>(b);
  return difference == 0;
}

// Addresses and ports. Both packets have the same version and transport and no IP options.
bool same_flow(const uint8_t* a, const uint8_t* b, bool v6) {
  return v6 ? same_bytes(a + kIpv6Source, b + kIpv6Source, 36) : same_bytes(a + kIpv4Source, b + kIpv4Source, 12);
}

// The fields of the IP header that cutting repeats in every packet; lengths, ids and checksums aside.
bool same_ip_fields(const uint8_t* a, const uint8_t* b, bool v6) {
  if (v6) return load<uint32_t>(a) == load<uint32_t>(b) && a[kIpv6HopLimit] == b[kIpv6HopLimit];
  return load<uint16_t>(a) == load<uint16_t>(b) &&
         load<uint32_t>(a + kIpv4Fragment) == load<uint32_t>(b + kIpv4Fragment);
}

// Reads the transport header; one that is cut short cannot be joined.
void read_transport_header(Candidate& packet) {
  const uint8_t* const transport = packet.bytes + packet.ip.header_length;
  const uint32_t length = packet.ip.total_length - packet.ip.header_length;
  if (packet.transport == kTcp && length >= kTcpHeaderBytes) {
    const uint32_t tcp_header_length = (transport[kTcpDataOffset] >> 4) * 4u;
    const uint8_t flags = transport[kTcpFlags];
    packet.header_length = packet.ip.header_length + tcp_header_length;
    packet.ends = (flags & kTcpPsh) != 0;
    packet.joinable =
        (flags & ~kTcpPsh) == kTcpAckFlag && tcp_header_length >= kTcpHeaderBytes && tcp_header_length < length;
  } else if (packet.transport == kUdp && length > kUdpHeaderBytes) {
    packet.header_length = packet.ip.header_length + kUdpHeaderBytes;
    packet.joinable = load_be16(transport + kUdpLength) == length && load<uint16_t>(transport + kUdpChecksum) != 0;
  }
}

bool is_offered(const Candidate& packet, const io::InnerOffloads& offloads) {
  const bool tcp = packet.transport == kTcp;
  return offloads.checksum &&
         (packet.v6() ? (tcp ? offloads.tcp6 : offloads.udp6) : (tcp ? offloads.tcp4 : offloads.udp4));
}

}  // namespace

struct Coalescer::State {
  // One packet to write: a packet as it came, or a superpacket.
  struct Item {
    uint8_t* head;
    io::Lease* lease;  // of the head
    uint32_t length;
    uint32_t next_sequence;
    uint32_t epoch;  // open for joining while it equals epochs_[transport]
    uint16_t packets;
    uint16_t first, last;  // followers, kNone: none
    uint16_t slot;         // which slot it took, kNone: none
    uint16_t gso_size;
    uint8_t header_length, ip_header_length;
    Transport transport;
    bool v6;
    bool full;  // PSH or a shorter packet ended it
    IdRun id_run;
  };
  struct Follower {
    uint8_t* payload;
    io::Lease* lease;
    uint16_t length;
    uint16_t next;
  };

  std::array<Item, kMaxPackets> items;
  std::array<Follower, kMaxPackets> followers;
  std::array<iovec, kMaxPackets> parts;
  std::array<io::Lease*, kMaxPackets> leases;  // beside the parts
  std::array<io::GatheredPacket, kMaxPackets> gathered;
  std::array<uint16_t, kSlots> slots;  // item + 1 of the flow's newest item, 0: free
  uint32_t item_count = 0;
  uint32_t follower_count = 0;
  uint32_t newest = kNone;  // the item that the last joinable packet went to: the next one's, most often
  uint32_t epochs[2] = {1, 1};
  FlowHashKey key;

  bool shows_its_flow(const uint8_t* packet, const IpHeader& ip);
  void close_flows(uint8_t protocol);
  uint16_t* find_slot(const Candidate& packet);
  bool belongs(const Item& item, const Candidate& packet) const;
  bool can_join(const Item& item, const Candidate& packet, IdRun& id_run) const;
  void join(Item& item, const Candidate& packet, IdRun id_run);
  uint32_t append_item(uint8_t* packet, uint32_t length, io::Lease* lease);
  void open_item(Item& item, const Candidate& packet, uint16_t* slot);
  void write_headers(const Item& item, io::Offload& offload);
};

// Packets that hide the ports of a flow, or part of it, must not be overtaken: nothing joins what is open
// now.
void Coalescer::State::close_flows(uint8_t protocol) {
  if (protocol != IPPROTO_UDP) ++epochs[kTcp];
  if (protocol != IPPROTO_TCP) ++epochs[kUdp];
}

// Whether a packet belongs to a flow that could have a superpacket.
bool Coalescer::State::shows_its_flow(const uint8_t* packet, const IpHeader& ip) {
  if (ip.protocol == IPPROTO_TCP || ip.protocol == IPPROTO_UDP) {
    if (ip.is_fragment() || (ip.header_length != kIpv4HeaderBytes && !ip.v6())) {
      close_flows(ip.protocol);
      return false;
    }
    // A transport header cut short still names its flow, so nothing may overtake it.
    return ip.total_length - ip.header_length >= kPortBytes && ip.total_length <= kMaxPacketBytes;
  }
  if (ip.v6() && is_extension_header(ip.protocol)) {
    const bool fragment = ip.protocol == IPPROTO_FRAGMENT && ip.total_length > kIpv6HeaderBytes;
    close_flows(fragment ? packet[kIpv6HeaderBytes] : uint8_t{IPPROTO_HOPOPTS});
  }
  return false;
}

bool Coalescer::State::belongs(const Item& item, const Candidate& packet) const {
  return item.transport == packet.transport && item.v6 == packet.v6() &&
         same_flow(item.head, packet.bytes, packet.v6());
}

// The slot of the packet's flow, or the free one where it would go; nullptr when the probes found neither.
uint16_t* Coalescer::State::find_slot(const Candidate& packet) {
  const uint64_t hash = flow_slot_hash(packet.bytes, packet.ip, key);
  for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {
    uint16_t& slot = slots[(hash + probe) % kSlots];
    if (slot == 0 || belongs(items[slot - 1u], packet)) return &slot;
  }
  return nullptr;
}

bool Coalescer::State::can_join(const Item& item, const Candidate& packet, IdRun& id_run) const {
  const uint8_t* const a = item.head;
  const uint8_t* const b = packet.bytes;
  if (item.full || item.epoch != epochs[item.transport] || item.header_length != packet.header_length ||
      packet.payload() > item.gso_size || item.length + packet.payload() > kMaxPacketBytes ||
      !same_ip_fields(a, b, item.v6))
    return false;
  if (item.transport == kTcp) {
    const uint8_t* const tcp_a = a + item.ip_header_length;
    const uint8_t* const tcp_b = b + item.ip_header_length;
    if (load_be32(tcp_b + kTcpSequence) != item.next_sequence || tcp_a[kTcpDataOffset] != tcp_b[kTcpDataOffset] ||
        load<uint32_t>(tcp_a + kTcpAck) != load<uint32_t>(tcp_b + kTcpAck) ||
        load<uint16_t>(tcp_a + kTcpWindow) != load<uint16_t>(tcp_b + kTcpWindow) ||
        load<uint16_t>(tcp_a + kTcpUrgent) != load<uint16_t>(tcp_b + kTcpUrgent) ||
        !same_bytes(tcp_a + kTcpHeaderBytes, tcp_b + kTcpHeaderBytes,
                    item.header_length - item.ip_header_length - kTcpHeaderBytes))
      return false;
  } else if (item.packets == kMaxUdpSegments) {
    return false;
  }
  if (item.v6) return true;
  // Joining would make a wrong one right. The kernel looks, too (net/ipv4/af_inet.c, inet_gro_receive).
  if (!ipv4_checksum_is_right(b) || (item.packets == 1 && !ipv4_checksum_is_right(a))) return false;
  const uint16_t id_a = load_be16(a + kIpv4Id);
  const uint16_t id_b = load_be16(b + kIpv4Id);
  const bool counts = id_b == static_cast<uint16_t>(id_a + item.packets);
  const bool zeros = id_a == 0 && id_b == 0 && (load_be16(a + kIpv4Fragment) & kDontFragment) != 0;
  id_run = counts ? IdRun::counting : IdRun::zero;
  return (counts || zeros) && (item.id_run == IdRun::unknown || item.id_run == id_run);
}

void Coalescer::State::join(Item& item, const Candidate& packet, IdRun id_run) {
  const auto index = static_cast<uint16_t>(follower_count++);
  followers[index] = {packet.bytes + packet.header_length, packet.lease, packet.payload(), kNone};
  (item.first == kNone ? item.first : followers[item.last].next) = index;
  item.last = index;
  item.length += packet.payload();
  item.next_sequence += packet.payload();
  item.packets++;
  item.id_run = id_run;
  item.full = packet.ends || packet.payload() < item.gso_size;
  // Every packet but the last has to look as cutting will make it, so the head takes the last one's PSH.
  if (packet.ends) item.head[item.ip_header_length + kTcpFlags] |= kTcpPsh;
}

// Adds a packet that nothing joins. Returns its item's index.
uint32_t Coalescer::State::append_item(uint8_t* packet, uint32_t length, io::Lease* lease) {
  Item& item = items[item_count];
  item.head = packet;
  item.lease = lease;
  item.length = length;
  item.packets = 1;
  item.first = item.last = item.slot = kNone;
  item.epoch = 0;
  return item_count++;
}

// Lets others join the packet that was appended as this item.
void Coalescer::State::open_item(Item& item, const Candidate& packet, uint16_t* slot) {
  item.epoch = epochs[packet.transport];
  item.next_sequence = load_be32(packet.bytes + packet.ip.header_length + kTcpSequence) + packet.payload();
  item.slot = static_cast<uint16_t>(slot - slots.data());
  item.gso_size = packet.payload();
  item.header_length = static_cast<uint8_t>(packet.header_length);
  item.ip_header_length = static_cast<uint8_t>(packet.ip.header_length);
  item.transport = packet.transport;
  item.v6 = packet.v6();
  item.full = packet.ends;
  item.id_run = IdRun::unknown;
}

// Makes the head the header of the whole, with the pseudo header's sum where the checksum will be, as a
// packet that needs_checksum has it.
void Coalescer::State::write_headers(const Item& item, io::Offload& offload) {
  uint8_t* const head = item.head;
  const uint32_t transport_length = item.length - item.ip_header_length;
  uint64_t pseudo = htons(item.transport == kTcp ? IPPROTO_TCP : IPPROTO_UDP) +
                    uint64_t{htons(static_cast<uint16_t>(transport_length))};
  if (item.v6) {
    store_be16(head + kIpv6PayloadLength, item.length - kIpv6HeaderBytes);
    pseudo += checksum_add(head + kIpv6Source, 32);
  } else {
    store_be16(head + kIpv4TotalLength, item.length);
    store<uint16_t>(head + kIpv4Checksum, 0);
    store(head + kIpv4Checksum, static_cast<uint16_t>(~checksum_fold(checksum_add(head, kIpv4HeaderBytes))));
    pseudo += checksum_add(head + kIpv4Source, 8);
  }
  const uint32_t checksum_offset = item.transport == kTcp ? kTcpChecksum : kUdpChecksum;
  uint8_t* const transport = head + item.ip_header_length;
  if (item.transport == kUdp) store_be16(transport + kUdpLength, transport_length);
  store(transport + checksum_offset, checksum_fold(pseudo));
  offload.gso = item.transport == kTcp ? io::GsoType::tcp : io::GsoType::udp;
  offload.needs_checksum = true;
  offload.header_length = item.header_length;
  offload.gso_size = item.gso_size;
  offload.checksum_start = item.ip_header_length;
  offload.checksum_offset = static_cast<uint16_t>(checksum_offset);
}

Coalescer::Coalescer() : state_(std::make_unique<State>()) {
  state_->slots.fill(0);
  state_->key = make_flow_hash_key();
}

Coalescer::~Coalescer() = default;

void Coalescer::add(uint8_t* bytes, const IpHeader& ip, const io::InnerOffloads& offloads, io::Lease* lease) {
  State& state = *state_;
  assert(state.item_count + state.follower_count < kMaxPackets);
  if (!offloads.joining_pays || !state.shows_its_flow(bytes, ip)) {
    state.append_item(bytes, ip.total_length, lease);
    return;
  }
  Candidate packet{bytes, lease, ip, ip.protocol == IPPROTO_TCP ? kTcp : kUdp};
  read_transport_header(packet);
  packet.joinable = packet.joinable && is_offered(packet, offloads);
  uint16_t* slot = nullptr;
  uint32_t found = kNone;
  if (state.newest != kNone && state.belongs(state.items[state.newest], packet))
    found = state.newest;
  else if (slot = state.find_slot(packet); slot != nullptr && *slot != 0)
    found = *slot - 1u;
  if (found != kNone) {
    State::Item& item = state.items[found];
    IdRun id_run = IdRun::unknown;
    if (packet.joinable && item.packets < offloads.max_parts && state.can_join(item, packet, id_run)) {
      state.join(item, packet, id_run);
      state.newest = found;
      return;
    }
    item.epoch = 0;
  }
  const uint32_t index = state.append_item(bytes, ip.total_length, lease);
  if (!packet.joinable) return;
  if (slot == nullptr && found != kNone) slot = state.find_slot(packet);
  // A flow without a slot never gets one before clear(), so its packets stay in order by staying apart.
  if (slot == nullptr) return;
  state.open_item(state.items[index], packet, slot);
  *slot = static_cast<uint16_t>(index + 1);
  state.newest = index;
}

std::span<const io::GatheredPacket> Coalescer::finish() {
  State& state = *state_;
  uint32_t part = 0;
  for (uint32_t i = 0; i < state.item_count; ++i) {
    const State::Item& item = state.items[i];
    io::GatheredPacket& packet = state.gathered[i];
    const uint32_t first_part = part;
    packet = io::GatheredPacket{};
    state.leases[part] = item.lease;
    state.parts[part++] = {item.head, item.packets == 1 ? item.length : size_t{item.header_length} + item.gso_size};
    for (uint16_t next = item.first; next != kNone; next = state.followers[next].next) {
      state.leases[part] = state.followers[next].lease;
      state.parts[part++] = {state.followers[next].payload, state.followers[next].length};
    }
    packet.leases = &state.leases[first_part];
    packet.parts = {&state.parts[first_part], part - first_part};
    packet.length = item.length;
    packet.packets = item.packets;
    if (item.packets > 1) state.write_headers(item, packet.offload);
  }
  return {state.gathered.data(), state.item_count};
}

void Coalescer::clear() {
  State& state = *state_;
  for (uint32_t i = 0; i < state.item_count; ++i)
    if (state.items[i].slot != kNone) state.slots[state.items[i].slot] = 0;
  state.epochs[kTcp] = state.epochs[kUdp] = 1;
  state.item_count = 0;
  state.follower_count = 0;
  state.newest = kNone;
}

}  // namespace culvert::packet
