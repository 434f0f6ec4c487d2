#include "io/udp_message.h"

#include <netinet/udp.h>

#include <cassert>
#include <cerrno>
#include <cstring>

namespace culvert::io {
namespace {

bool is_v6_link_local(const Address& address) {  // fe80::/10, RFC 4291
  return address.family == Family::v6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

template <typename T>
void append(msghdr& message, int level, int type, const T& value) {
  auto* header = reinterpret_cast<cmsghdr*>(static_cast<uint8_t*>(message.msg_control) + message.msg_controllen);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(header), &value, sizeof value);
  message.msg_controllen += CMSG_SPACE(sizeof value);
  assert(message.msg_controllen <= kControlBytes);
}

// The kernel sends IP_TOS as a byte and the others as an int.
template <typename T>
T value_of(const cmsghdr* header) {
  T value{};
  if (header->cmsg_len >= CMSG_LEN(sizeof value)) std::memcpy(&value, CMSG_DATA(header), sizeof value);
  return value;
}

template <typename T>
Address address_from(Family family, const T& network_order) {
  Address address;
  address.family = family;
  std::memcpy(address.bytes.data(), &network_order, sizeof network_order);
  return address;
}

}  // namespace

socklen_t to_socket_address(const Address& address, uint16_t port, uint32_t scope_id, SocketAddress& out) {
  if (address.family == Family::v4) {
    out.v4 = {};
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(port);
    std::memcpy(&out.v4.sin_addr, address.bytes.data(), sizeof out.v4.sin_addr);
    return sizeof out.v4;
  }
  if (address.family == Family::v6) {
    out.v6 = {};
    out.v6.sin6_family = AF_INET6;
    out.v6.sin6_port = htons(port);
    out.v6.sin6_scope_id = scope_id;
    std::memcpy(&out.v6.sin6_addr, address.bytes.data(), sizeof out.v6.sin6_addr);
    return sizeof out.v6;
  }
  return 0;
}

Address address_of(const SocketAddress& address) {
  switch (address.any.sa_family) {
    case AF_INET:
      return address_from(Family::v4, address.v4.sin_addr);
    case AF_INET6:
      return address_from(Family::v6, address.v6.sin6_addr);
    default:
      return {};
  }
}

Endpoint remote_of(const SocketAddress& address) {
  Endpoint endpoint;
  endpoint.remote = address_of(address);
  if (endpoint.remote.family == Family::v4) {
    endpoint.port = ntohs(address.v4.sin_port);
  } else if (endpoint.remote.family == Family::v6) {
    endpoint.port = ntohs(address.v6.sin6_port);
    endpoint.scope_id = address.v6.sin6_scope_id;
  }
  return endpoint;
}

bool has_usable_source(const Endpoint& endpoint) {
  return endpoint.source.family == endpoint.remote.family && endpoint.source.family != Family::none &&
         (!is_v6_link_local(endpoint.source) || endpoint.scope_id != 0);
}

bool may_be_source_error(int error) {
  return error == EINVAL || error == ENETUNREACH || error == EADDRNOTAVAIL || error == ENODEV;
}

void write_control(msghdr& message, ControlBuffer& control, const Endpoint& to, bool use_source, uint8_t traffic_class,
                   uint16_t segment_size) {
  const bool v6 = to.remote.family == Family::v6;
  message.msg_control = control.bytes;
  message.msg_controllen = 0;
  if (segment_size != 0) append(message, SOL_UDP, UDP_SEGMENT, segment_size);
  // The interface stays open, so that a change of route is followed; only a link-local source needs one.
  if (use_source && v6) {
    in6_pktinfo packet{};
    std::memcpy(&packet.ipi6_addr, to.source.bytes.data(), sizeof packet.ipi6_addr);
    packet.ipi6_ifindex = is_v6_link_local(to.source) ? to.scope_id : 0;
    append(message, IPPROTO_IPV6, IPV6_PKTINFO, packet);
  } else if (use_source) {
    in_pktinfo packet{};
    std::memcpy(&packet.ipi_spec_dst, to.source.bytes.data(), sizeof packet.ipi_spec_dst);
    append(message, IPPROTO_IP, IP_PKTINFO, packet);
  }
  if (traffic_class != 0)
    append(message, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, static_cast<int>(traffic_class));
}

ReceivedControl read_control(const msghdr& message) {
  ReceivedControl read;
  auto* mutable_message = const_cast<msghdr*>(&message);  // CMSG_NXTHDR is not const-correct
  for (cmsghdr* header = CMSG_FIRSTHDR(mutable_message); header != nullptr;
       header = CMSG_NXTHDR(mutable_message, header)) {
    const int type = header->cmsg_type;
    if (header->cmsg_level == SOL_UDP && type == UDP_GRO) {
      read.segment_size = static_cast<uint16_t>(value_of<int>(header));
    } else if (header->cmsg_level == IPPROTO_IP && type == IP_PKTINFO) {
      // spec_dst, not addr: what to answer from, also when the datagram went to a broadcast address.
      read.local = address_from(Family::v4, value_of<in_pktinfo>(header).ipi_spec_dst);
    } else if (header->cmsg_level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
      read.local = address_from(Family::v6, value_of<in6_pktinfo>(header).ipi6_addr);
    } else if (header->cmsg_level == IPPROTO_IP && type == IP_ORIGDSTADDR) {
      read.local_port = ntohs(value_of<sockaddr_in>(header).sin_port);
    } else if (header->cmsg_level == IPPROTO_IPV6 && type == IPV6_ORIGDSTADDR) {
      read.local_port = ntohs(value_of<sockaddr_in6>(header).sin6_port);
    } else if (header->cmsg_level == IPPROTO_IP && type == IP_TOS) {
      read.traffic_class = value_of<uint8_t>(header);
    } else if (header->cmsg_level == IPPROTO_IPV6 && type == IPV6_TCLASS) {
      read.traffic_class = static_cast<uint8_t>(value_of<int>(header));
    }
  }
  return read;
}

}  // namespace culvert::io
