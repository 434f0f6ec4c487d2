// Thousands of WireGuard peers behind one socket, which answer whoever calls them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "io/fd.h"
#include "tests/traffic/responder.h"

namespace culvert::traffic {

// Peer number n is called at 127.1.0.0 + n, all on one port: an initiation does not say whom it is for.
//
// Thread safety: none.
class Crowd {
 public:
  // What came to one peer.
  struct Calls {
    uint32_t initiations = 0;
    uint32_t cookie_replies = 0;
    uint32_t keepalives = 0;
    uint32_t others = 0;  // transport data that is no keepalive, and what is no message
  };

  // `caller` is the one that all of them know.
  Crowd(size_t size, const protocol::PublicKey& caller)
      : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), peers_(size), calls_(size) {
    for (Responder& peer : peers_) (void)peer.add_peer(caller);
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
  int fd() const { return fd_.get(); }
  const protocol::PublicKey& public_key(size_t n) const { return peers_[n].public_key(); }
  const Calls& calls(size_t n) const { return calls_[n]; }
  std::string endpoint(size_t n) const {
    return "127." + std::to_string(1 + (n >> 16)) + "." + std::to_string(n >> 8 & 255) + "." + std::to_string(n & 255) +
           ":" + std::to_string(port_);
  }

  // Takes all that waits, and answers every initiation. How many it answered.
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
      const std::span<const uint8_t> received(bytes.data(), static_cast<size_t>(length));
      count(received, calls_[n]);
      std::vector<uint8_t> reply = peers_[n].answer(received, {}, false, now);
      if (reply.empty()) continue;
      // Back with the control message that it came with: from where the peer was called, so that it does not roam.
      part = {reply.data(), reply.size()};
      message.msg_flags = 0;
      answers += ::sendmsg(fd_.get(), &message, 0) == static_cast<ssize_t>(reply.size());
    }
  }

 private:
  static void count(std::span<const uint8_t> message, Calls& calls) {
    switch (protocol::classify(message)) {
      case protocol::MessageKind::handshake_initiation:
        ++calls.initiations;
        break;
      case protocol::MessageKind::cookie_reply:
        ++calls.cookie_replies;
        break;
      case protocol::MessageKind::transport_data:
        ++(message.size() == protocol::kKeepaliveBytes ? calls.keepalives : calls.others);
        break;
      default:
        ++calls.others;
    }
  }

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
  std::deque<Responder> peers_;
  std::vector<Calls> calls_;
};

}  // namespace culvert::traffic
