// Where the fields of IP, ICMP, TCP and UDP headers stand, and unaligned access to them. Protocol numbers are those
// of <netinet/in.h>.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstring>

namespace culvert::packet {

constexpr uint32_t kMaxPacketBytes = 65535;

// RFC 791
constexpr uint32_t kIpv4HeaderBytes = 20;
constexpr uint32_t kIpv4Tos = 1, kIpv4TotalLength = 2, kIpv4Id = 4, kIpv4Fragment = 6, kIpv4Ttl = 8;
constexpr uint32_t kIpv4Protocol = 9, kIpv4Checksum = 10, kIpv4Source = 12, kIpv4Destination = 16;
constexpr uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000, kFragmentOffset = 0x1fff;
// RFC 8200
constexpr uint32_t kIpv6HeaderBytes = 40;
constexpr uint32_t kIpv6PayloadLength = 4, kIpv6NextHeader = 6, kIpv6HopLimit = 7, kIpv6Source = 8;
constexpr uint32_t kIpv6Destination = 24;
// RFC 792 and RFC 4443; the id is that of an echo request or reply.
constexpr uint32_t kIcmpHeaderBytes = 8, kIcmpChecksum = 2, kIcmpId = 4;
// RFC 9293
constexpr uint32_t kTcpHeaderBytes = 20, kTcpMaxHeaderBytes = 60;
constexpr uint32_t kTcpSequence = 4, kTcpAck = 8, kTcpDataOffset = 12, kTcpFlags = 13, kTcpWindow = 14;
constexpr uint32_t kTcpChecksum = 16, kTcpUrgent = 18;
constexpr uint8_t kTcpFin = 0x01, kTcpPsh = 0x08, kTcpAckFlag = 0x10, kTcpCwr = 0x80;
// Both ports of TCP and UDP come first.
constexpr uint32_t kPortBytes = 4;
// RFC 768
constexpr uint32_t kUdpHeaderBytes = 8, kUdpLength = 4, kUdpChecksum = 6;

// Native-endian loads and stores, for checksums and comparisons.
template <typename T>
inline T load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}
template <typename T>
inline void store(uint8_t* bytes, T value) {
  std::memcpy(bytes, &value, sizeof value);
}
// Network byte order.
inline uint16_t load_be16(const uint8_t* bytes) {
  return ntohs(load<uint16_t>(bytes));
}
inline uint32_t load_be32(const uint8_t* bytes) {
  return ntohl(load<uint32_t>(bytes));
}
inline void store_be16(uint8_t* bytes, uint32_t value) {
  store(bytes, htons(static_cast<uint16_t>(value)));
}
inline void store_be32(uint8_t* bytes, uint32_t value) {
  store(bytes, htonl(value));
}

}  // namespace culvert::packet
