// What goes with a UDP payload into sendmsg(2) and comes out of recvmsg(2): addresses and control messages.
// Pure conversions, any thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

#include "io/endpoint.h"

namespace culvert::io {

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

// Fills in `out` and returns its length; 0 for an invalid endpoint.
socklen_t to_socket_address(const Address& address, uint16_t port, uint32_t scope_id, SocketAddress& out);

// The address of what getsockname(2) and recvmsg(2) filled in; Family::none for another family.
Address address_of(const SocketAddress& address);

// The remote end of a received datagram: address, port and, for a link-local v6 address, its interface.
Endpoint remote_of(const SocketAddress& address);

// Room for the control messages of one message: segment size, source address, traffic class, and of one that wide
// sockets received the address and port that it was sent to.
inline constexpr size_t kControlBytes = CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(in6_pktinfo)) +
                                        CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(sockaddr_in6));
struct ControlBuffer {
  alignas(cmsghdr) uint8_t bytes[kControlBytes];
};

// Whether datagrams to `endpoint` can name its source: one of the same family, and not a link-local v6
// address without the interface that it belongs to.
bool has_usable_source(const Endpoint& endpoint);

// Whether sendmsg(2) failed in a way that a source address that left the host explains: EINVAL (v6, and v4 up to some
// kernel), ENETUNREACH (v4 on Linux 6.18), EADDRNOTAVAIL, ENODEV.
bool may_be_source_error(int error);

// Points `message` at `control` and writes UDP_SEGMENT if segment_size is not 0, the source address if
// `use_source` (the caller has asked has_usable_source()), and the traffic class if it is not 0.
void write_control(msghdr& message, ControlBuffer& control, const Endpoint& to, bool use_source, uint8_t traffic_class,
                   uint16_t segment_size);

// What the control messages of a received message say.
struct ReceivedControl {
  uint16_t segment_size = 0;  // UDP_GRO's; 0: there is one datagram
  uint8_t traffic_class = 0;
  Address local;            // that it was sent to
  uint16_t local_port = 0;  // that it was sent to, where the socket asks for that (IP_RECVORIGDSTADDR); else 0
};
ReceivedControl read_control(const msghdr& message);

}  // namespace culvert::io
