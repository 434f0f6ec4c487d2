// Thousands of WireGuard peers behind one socket, which answer whoever calls them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <deque>
#include <string>

#include "io/fd.h"
#include "src/device/encoding.h"
#include "tests/device/device_nodes.h"
#include "tests/traffic/responder.h"

namespace culvert::device::test {

// Peer number n is called at 127.1.0.0 + n, all on one port: an initiation does not say whom it is for.
//
// Thread safety: none.
class Crowd {
 public:
  // `caller` is the one that all of them know.
  Crowd(size_t size, const Key& caller)
      : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), peers_(size) {
    for (traffic::Responder& peer : peers_) (void)peer.add_peer(protocol::PublicKey{caller});
    constexpr int kOn = 1, kBufferBytes = 32 << 20;
    (void)::setsockopt(fd_.get(), IPPROTO_IP, IP_PKTINFO, &kOn, sizeof kOn);
    if (::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBufferBytes, sizeof kBufferBytes) != 0)
      (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &kBufferBytes, sizeof kBufferBytes);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    (void)::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any);
    socklen_t length = sizeof any;
    (void)::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&any), &length);
    port_ = ntohs(any.sin_port);
  }

  size_t size() const { return peers_.size(); }
  Key public_key(size_t n) const { return peers_[n].public_key().bytes; }
  std::string endpoint(size_t n) const {
    return "127." + std::to_string(1 + (n >> 16)) + "." + std::to_string(n >> 8 & 255) + "." + std::to_string(n & 255) +
           ":" + std::to_string(port_);
  }

  // Answers every initiation that waits. How many those were.
  size_t answer(protocol::Instant now) {
    size_t answers = 0;
    for (;;) {
      std::array<uint8_t, 2048> bytes;
      alignas(cmsghdr) std::array<char, 256> control;
      sockaddr_in from{};
      iovec part{bytes.data(), bytes.size()};
      msghdr message{};
      message.msg_name = &from;
      message.msg_namelen = sizeof from;
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      const ssize_t length = ::recvmsg(fd_.get(), &message, 0);
      if (length < 0) return answers;
      const size_t n = number_of(message);
      if (n >= peers_.size()) continue;
      const std::vector<uint8_t> reply = peers_[n].answer({bytes.data(), static_cast<size_t>(length)}, {}, false, now);
      if (reply.empty()) continue;
      answers += ::sendto(fd_.get(), reply.data(), reply.size(), 0, reinterpret_cast<const sockaddr*>(&from),
                          sizeof from) == static_cast<ssize_t>(reply.size());
    }
  }

 private:
  // Whom a message was sent to.
  static size_t number_of(msghdr& message) {
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
      if (at->cmsg_level != IPPROTO_IP || at->cmsg_type != IP_PKTINFO) continue;
      in_pktinfo to{};
      std::memcpy(&to, CMSG_DATA(at), sizeof to);
      return ntohl(to.ipi_addr.s_addr) - 0x7f010000u;
    }
    return SIZE_MAX;
  }

  io::Fd fd_;
  uint16_t port_ = 0;
  std::deque<traffic::Responder> peers_;
};

// One operation that makes the whole crowd peers of the node, with a persistent keepalive each.
inline void introduce_crowd(Node& node, const Crowd& crowd) {
  node.device->begin_turn(now(), wall_now());
  for (size_t n = 0; n < crowd.size(); ++n) {
    const Key key = crowd.public_key(n);
    PeerOrigin origin{};
    ASSERT_EQ(node.device->select_peer(key, origin), 0);
    node.device->set_endpoint(key, pipeline::test::endpoint(crowd.endpoint(n)));
    node.device->set_persistent_keepalive(key, 25);
    node.device->finish_peer(key);
  }
  node.device->end_of_operation();
}

}  // namespace culvert::device::test
