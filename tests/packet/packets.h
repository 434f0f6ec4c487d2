// Packets for tests, and slow, obvious versions of what tun/ does fast. Shares no code with tun/.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace culvert::packet::test {

using Bytes = std::vector<uint8_t>;

// A case's sentence as GoogleTest wants names: letters, digits and underscores.
inline std::string identifier(std::string sentence) {
  std::replace_if(
      sentence.begin(), sentence.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return sentence;
}

inline unsigned get16(std::span<const uint8_t> bytes, size_t at) {
  return bytes[at] << 8 | bytes[at + 1];
}
inline uint32_t get32(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint32_t>(get16(bytes, at)) << 16 | get16(bytes, at + 2);
}
inline void put16(std::span<uint8_t> bytes, size_t at, unsigned value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}
inline void put32(std::span<uint8_t> bytes, size_t at, uint32_t value) {
  put16(bytes, at, value >> 16);
  put16(bytes, at + 2, value & 0xffff);
}

// RFC 1071, one 16-bit word at a time in network order.
inline unsigned naive_checksum(std::span<const uint8_t> bytes, unsigned sum = 0) {
  uint64_t words = sum;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) words += get16(bytes, i);
  if (bytes.size() % 2 != 0) words += bytes.back() << 8;
  while (words > 0xffff) words = (words & 0xffff) + (words >> 16);
  return static_cast<unsigned>(words);
}

// What a test wants a packet to be. One source of truth for addresses: they end in `host`.
struct PacketSpec {
  bool v6 = false;
  bool tcp = true;
  uint8_t host = 1;
  uint16_t source_port = 1000, destination_port = 2000;
  uint32_t sequence = 1, ack = 7;
  uint8_t flags = 0x10;
  uint16_t window = 500, urgent = 0;
  Bytes tcp_options;
  uint8_t tos = 0, ttl = 64;
  uint16_t id = 0;
  bool dont_fragment = true;
  uint32_t flow_label = 0;
  size_t payload_bytes = 100;
  Bytes ip_options;  // v4 options, or v6 extension headers
  uint8_t first_extension = 0;
};

inline size_t ip_header_bytes(std::span<const uint8_t> packet) {
  return packet[0] >> 4 == 4 ? (packet[0] & 15) * 4 : 40;
}

// The transport checksum that the packet should carry. `at`: where the transport header starts, `field`:
// where its checksum stands.
inline unsigned right_checksum(Bytes packet, size_t at, size_t field, uint8_t protocol) {
  put16(packet, at + field, 0);
  const bool v6 = packet[0] >> 4 == 6;
  const auto addresses = std::span(packet).subspan(v6 ? 8 : 12, v6 ? 32 : 8);
  unsigned sum = naive_checksum(addresses, protocol);
  sum = naive_checksum(Bytes{static_cast<uint8_t>((packet.size() - at) >> 8), static_cast<uint8_t>(packet.size() - at)},
                       sum);
  const unsigned checksum = 0xffff - naive_checksum(std::span(packet).subspan(at), sum);
  return checksum == 0 && protocol == 17 ? 0xffff : checksum;
}

inline void finish_ip_checksum(Bytes& packet) {
  put16(packet, 10, 0);
  put16(packet, 10, 0xffff - naive_checksum(std::span(packet).first(ip_header_bytes(packet))));
}

inline void finish_checksums(Bytes& packet, size_t at, bool tcp) {
  if (packet[0] >> 4 == 4) finish_ip_checksum(packet);
  const size_t field = tcp ? 16 : 6;
  put16(packet, at + field, right_checksum(packet, at, field, tcp ? 6 : 17));
}

// The packet with right lengths and checksums. The payload depends on the sequence number.
inline Bytes make_packet(const PacketSpec& spec) {
  const size_t ip = (spec.v6 ? 40 : 20) + spec.ip_options.size();
  const size_t header = ip + (spec.tcp ? 20 + spec.tcp_options.size() : 8);
  Bytes packet(header + spec.payload_bytes);
  const uint8_t protocol = spec.tcp ? 6 : 17;
  if (spec.v6) {
    put32(packet, 0, 6u << 28 | static_cast<uint32_t>(spec.tos) << 20 | spec.flow_label);
    put16(packet, 4, static_cast<unsigned>(packet.size() - 40));
    packet[6] = spec.ip_options.empty() ? protocol : spec.first_extension;
    packet[7] = spec.ttl;
    packet[8] = packet[24] = 0xfd;
    packet[23] = spec.host;
    packet[39] = static_cast<uint8_t>(spec.host + 1);
    std::copy(spec.ip_options.begin(), spec.ip_options.end(), packet.begin() + 40);
  } else {
    packet[0] = static_cast<uint8_t>(0x40 | ip / 4);
    packet[1] = spec.tos;
    put16(packet, 2, static_cast<unsigned>(packet.size()));
    put16(packet, 4, spec.id);
    put16(packet, 6, spec.dont_fragment ? 0x4000 : 0);
    packet[8] = spec.ttl;
    packet[9] = protocol;
    put32(packet, 12, 0x0a000000u | spec.host);
    put32(packet, 16, 0x0a000100u | spec.host);
    std::copy(spec.ip_options.begin(), spec.ip_options.end(), packet.begin() + 20);
  }
  put16(packet, ip, spec.source_port);
  put16(packet, ip + 2, spec.destination_port);
  if (spec.tcp) {
    put32(packet, ip + 4, spec.sequence);
    put32(packet, ip + 8, spec.ack);
    packet[ip + 12] = static_cast<uint8_t>((20 + spec.tcp_options.size()) / 4 << 4);
    packet[ip + 13] = spec.flags;
    put16(packet, ip + 14, spec.window);
    put16(packet, ip + 18, spec.urgent);
    std::copy(spec.tcp_options.begin(), spec.tcp_options.end(), packet.begin() + static_cast<long>(ip) + 20);
  } else {
    put16(packet, ip + 4, static_cast<unsigned>(packet.size() - ip));
  }
  for (size_t i = header; i < packet.size(); ++i)
    packet[i] = static_cast<uint8_t>((spec.sequence + i - header) * 2654435761u >> 24);
  finish_checksums(packet, ip, spec.tcp);
  return packet;
}

// Whether every checksum of a TCP or UDP packet without extension headers is right; a zero one of UDP is not.
inline bool checksums_are_right(const Bytes& packet) {
  const bool v6 = packet[0] >> 4 == 6;
  const size_t ip = ip_header_bytes(packet);
  if (!v6 && naive_checksum(std::span(packet).first(ip)) != 0xffff) return false;
  const uint8_t protocol = packet[v6 ? 6 : 9];
  const size_t field = protocol == 6 ? 16 : 6;
  return get16(packet, ip + field) == right_checksum(packet, ip, field, protocol);
}

// What TSO and USO make of a packet of right lengths, a segment at a time and every checksum from scratch.
inline std::vector<Bytes> naive_segments(const Bytes& whole, bool tcp, size_t ip, size_t gso_size) {
  const bool v6 = whole[0] >> 4 == 6;
  const size_t header = ip + (tcp ? (whole[ip + 12] >> 4) * 4 : 8);
  std::vector<Bytes> segments;
  for (size_t at = header; at < whole.size() || segments.empty(); at += gso_size) {
    const bool last = at + gso_size >= whole.size();
    const size_t end = std::min(whole.size(), at + gso_size);
    Bytes segment(whole.begin(), whole.begin() + static_cast<long>(header));
    segment.insert(segment.end(), whole.begin() + static_cast<long>(at), whole.begin() + static_cast<long>(end));
    if (v6) {
      put16(segment, 4, static_cast<unsigned>(segment.size() - 40));
    } else {
      put16(segment, 2, static_cast<unsigned>(segment.size()));
      put16(segment, 4, (get16(whole, 4) + static_cast<unsigned>(segments.size())) & 0xffff);
    }
    if (tcp) {
      put32(segment, ip + 4, get32(whole, ip + 4) + static_cast<uint32_t>(at - header));
      if (!segments.empty()) segment[ip + 13] &= 0x7f;
      if (!last) segment[ip + 13] &= 0xf6;
    } else {
      put16(segment, ip + 4, static_cast<unsigned>(segment.size() - ip));
    }
    finish_checksums(segment, ip, tcp);
    segments.push_back(std::move(segment));
  }
  return segments;
}

// The flow of a TCP or UDP packet as the network sees it: protocol, addresses and ports.
inline std::string flow_of(const Bytes& packet) {
  const bool v6 = packet[0] >> 4 == 6;
  std::string flow(packet.begin() + (v6 ? 8 : 12), packet.begin() + (v6 ? 44 : 24));
  flow.push_back(static_cast<char>(packet[v6 ? 6 : 9]));
  return flow;
}

// What a packet has to be after it was joined and cut again into `cut`. Joining changes two things: an IPv4 id of
// zero under "don't fragment" is counted up (RFC 6864), and a wrong TCP or UDP checksum becomes right, because
// nobody looks at it (the kernel module does not either: its receive.c sets CHECKSUM_UNNECESSARY).
inline Bytes after_joining(Bytes packet, const Bytes& cut) {
  const bool v6 = packet[0] >> 4 == 6;
  const size_t ip = ip_header_bytes(packet);
  if (!v6 && get16(packet, 4) == 0 && get16(cut, 4) != 0 && (packet[6] & 0x40) != 0 &&
      naive_checksum(std::span(packet).first(ip)) == 0xffff) {
    put16(packet, 4, get16(cut, 4));
    finish_ip_checksum(packet);
  }
  const uint8_t protocol = packet[v6 ? 6 : 9];
  const size_t field = protocol == 6 ? 16 : 6;
  put16(packet, ip + field, right_checksum(packet, ip, field, protocol));
  return packet;
}

}  // namespace culvert::packet::test
