#include "bench/inner_traffic.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <cstring>

#include "src/packet/checksum.h"

namespace culvert::bench {
namespace {

using Kind = InnerPacket::Kind;

constexpr uint16_t kDestinationPort = 5201;

bool is_v6(Kind kind) {
  return kind == Kind::tcp6 || kind == Kind::udp6;
}
bool is_tcp(Kind kind) {
  return kind == Kind::tcp4 || kind == Kind::tcp6;
}
size_t ip_header_bytes(Kind kind) {
  return is_v6(kind) ? sizeof(ip6_hdr) : sizeof(iphdr);
}
size_t checksum_offset(Kind kind) {
  return is_tcp(kind) ? offsetof(tcphdr, check) : offsetof(udphdr, check);
}
uint8_t protocol_of(Kind kind) {
  return is_tcp(kind) ? IPPROTO_TCP : IPPROTO_UDP;
}

void write_v4(Bytes& bytes, const InnerPacket& packet) {
  iphdr header{};
  header.version = 4;
  header.ihl = sizeof header / 4;
  header.tot_len = htons(static_cast<uint16_t>(bytes.size()));
  header.id = htons(packet.identification);
  header.frag_off = htons(IP_DF);
  header.ttl = 64;
  header.protocol = protocol_of(packet.kind);
  header.saddr = htonl(0x0a000001);
  header.daddr = htonl(0x0a000002);
  std::memcpy(bytes.data(), &header, sizeof header);
  header.check = static_cast<uint16_t>(~packet::checksum_fold(packet::checksum_add(bytes.data(), sizeof header)));
  std::memcpy(bytes.data(), &header, sizeof header);
}

void write_v6(Bytes& bytes, const InnerPacket& packet) {
  ip6_hdr header{};
  header.ip6_vfc = 0x60;
  header.ip6_plen = htons(static_cast<uint16_t>(bytes.size() - sizeof header));
  header.ip6_nxt = protocol_of(packet.kind);
  header.ip6_hlim = 64;
  header.ip6_src.s6_addr[0] = header.ip6_dst.s6_addr[0] = 0xfd;
  header.ip6_src.s6_addr[15] = 1;
  header.ip6_dst.s6_addr[15] = 2;
  std::memcpy(bytes.data(), &header, sizeof header);
}

void write_transport(Bytes& bytes, const InnerPacket& packet) {
  uint8_t* at = bytes.data() + ip_header_bytes(packet.kind);
  if (is_tcp(packet.kind)) {
    tcphdr header{};
    header.source = htons(packet.source_port);
    header.dest = htons(kDestinationPort);
    header.seq = htonl(packet.sequence);
    header.ack_seq = htonl(1);
    header.doff = sizeof header / 4;
    header.ack = 1;
    header.window = htons(512);
    std::memcpy(at, &header, sizeof header);
  } else {
    udphdr header{};
    header.source = htons(packet.source_port);
    header.dest = htons(kDestinationPort);
    header.len = htons(static_cast<uint16_t>(sizeof header + packet.payload_bytes));
    std::memcpy(at, &header, sizeof header);
  }
}

// Sum of the addresses, the protocol and the length.
uint64_t pseudo_header_sum(const Bytes& bytes, Kind kind) {
  const size_t addresses_at = is_v6(kind) ? offsetof(ip6_hdr, ip6_src) : offsetof(iphdr, saddr);
  const size_t addresses_end = ip_header_bytes(kind);
  return packet::checksum_add(bytes.data() + addresses_at, addresses_end - addresses_at) + htons(protocol_of(kind)) +
         htons(static_cast<uint16_t>(bytes.size() - addresses_end));
}

void put_checksum(Bytes& bytes, Kind kind, uint16_t checksum) {
  std::memcpy(bytes.data() + ip_header_bytes(kind) + checksum_offset(kind), &checksum, sizeof checksum);
}

}  // namespace

size_t header_bytes(Kind kind) {
  return ip_header_bytes(kind) + (is_tcp(kind) ? sizeof(tcphdr) : sizeof(udphdr));
}

const std::vector<PacketMix>& packet_mixes() {
  static const std::vector<PacketMix> mixes = {
      {"64", {64}}, {"imix", {64, 576, 64, 64, 576, 64, 64, 576, 64, 64, 576, 1420}}, {"1420", {1420}}};
  return mixes;
}

InnerPacket in_order(Kind kind, uint32_t packet_bytes, uint32_t i) {
  InnerPacket packet;
  packet.kind = kind;
  packet.payload_bytes = static_cast<uint32_t>(packet_bytes - header_bytes(kind));
  packet.sequence += i * packet.payload_bytes;
  packet.identification = static_cast<uint16_t>(packet.identification + i);
  return packet;
}

const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"tcp4", "tcp6", "udp4", "udp6"};
  return kNames[static_cast<size_t>(kind)];
}

Bytes make_superpacket(const InnerPacket& packet) {
  Bytes bytes(header_bytes(packet.kind) + packet.payload_bytes);
  for (size_t i = header_bytes(packet.kind); i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 167);
  if (is_v6(packet.kind))
    write_v6(bytes, packet);
  else
    write_v4(bytes, packet);
  write_transport(bytes, packet);
  put_checksum(bytes, packet.kind, packet::checksum_fold(pseudo_header_sum(bytes, packet.kind)));
  return bytes;
}

Bytes make_packet(const InnerPacket& packet) {
  Bytes bytes = make_superpacket(packet);
  // The field holds the sum of the pseudo header, so that summing over it finishes the checksum.
  const size_t start = ip_header_bytes(packet.kind);
  const uint64_t sum = packet::checksum_add(bytes.data() + start, bytes.size() - start);
  put_checksum(bytes, packet.kind, static_cast<uint16_t>(~packet::checksum_fold(sum)));
  return bytes;
}

io::Superpacket view_of(Bytes& superpacket, const InnerPacket& packet, uint16_t gso_size) {
  io::Superpacket view;
  view.bytes = superpacket.data();
  view.length = static_cast<uint32_t>(superpacket.size());
  if (gso_size != 0) view.offload.gso = is_tcp(packet.kind) ? io::GsoType::tcp : io::GsoType::udp;
  view.offload.needs_checksum = true;
  view.offload.header_length = static_cast<uint16_t>(header_bytes(packet.kind));
  view.offload.gso_size = gso_size;
  view.offload.checksum_start = static_cast<uint16_t>(ip_header_bytes(packet.kind));
  view.offload.checksum_offset = static_cast<uint16_t>(checksum_offset(packet.kind));
  return view;
}

}  // namespace culvert::bench
