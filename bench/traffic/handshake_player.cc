#include "bench/traffic/handshake_player.h"

#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>

#include "bench/traffic/clock.h"
#include "bench/traffic/sockets.h"
#include "bench/traffic/source_addresses.h"
#include "src/protocol/noise.h"

namespace culvert::traffic {
namespace {

// A sender index is the initiator's number, and above it a round that tells its handshakes apart.
constexpr unsigned kNumberBits = 16;

constexpr int kReceiveBufferBytes = 4 << 20;
// Answers are looked for this often: the responder's queue holds a window, and its time is not spent on waking us.
constexpr int64_t kNap = 100'000;

constexpr int kProofAttempts = 5;
constexpr int kProofPatienceMs = 1000;

protocol::Instant instant() {
  return protocol::Instant(std::chrono::nanoseconds(now_ns()));
}

protocol::Tai64n timestamp() {
  return protocol::tai64n(std::chrono::system_clock::now());
}

}  // namespace

io::Result<std::unique_ptr<HandshakePlayer>> HandshakePlayer::open(std::span<Initiator> initiators,
                                                                   const io::Endpoint& server,
                                                                   const std::optional<protocol::Prefix>& sources,
                                                                   size_t window) {
  const bool v6 = server.remote.family == io::Family::v6;
  if (sources && (sources->version == protocol::IpVersion::v6) != v6)
    return io::Error{0, "--sources and the server's address must both be IPv4 or both IPv6"};
  auto socket = open_socket(server, SOCK_DGRAM | SOCK_NONBLOCK);
  if (!socket) return socket.error();
  set_receive_buffer(socket->get(), kReceiveBufferBytes);
  // Addresses of a local route are on no interface, which IPv6 wants to hear of.
  if (auto set = v6 ? set_option(socket->get(), IPPROTO_IPV6, IPV6_FREEBIND, 1, "IPV6_FREEBIND")
                    : set_option(socket->get(), IPPROTO_IP, IP_FREEBIND, 1, "IP_FREEBIND");
      !set)
    return set.error();
  return std::unique_ptr<HandshakePlayer>(new HandshakePlayer(initiators, server, sources, window, std::move(*socket)));
}

HandshakePlayer::HandshakePlayer(std::span<Initiator> initiators, const io::Endpoint& server,
                                 const std::optional<protocol::Prefix>& sources, size_t window, io::Fd socket)
    : initiators_(initiators),
      server_(server),
      sources_(sources),
      window_(window),
      socket_(std::move(socket)),
      last_sent_(initiators.size()) {}

void HandshakePlayer::address_message(Slot& slot, msghdr& message, size_t bytes, uint32_t number) {
  io::Endpoint to = server_;
  if (sources_) to.source = source_address(*sources_, number);
  slot.part = {slot.bytes.data(), bytes};
  message = {};
  message.msg_name = &slot.address;
  message.msg_namelen = io::to_socket_address(to.remote, to.port, to.scope_id, slot.address);
  message.msg_iov = &slot.part;
  message.msg_iovlen = 1;
  io::write_control(message, slot.control, to, io::has_usable_source(to), protocol::kHandshakeDsField, 0);
}

io::Status HandshakePlayer::prove() {
  const Initiator& first = initiators_.front();
  protocol::Handshake handshake(first.server());
  protocol::CookieGenerator cookies(first.server());
  if (!handshake.precompute_static_static(first.identity()))
    return io::Error{0, "--key-of-server is no key that handshakes are possible with"};
  bool answered = false;
  for (int attempt = 0; attempt < kProofAttempts; ++attempt) {
    protocol::HandshakeInitiation initiation;
    if (!handshake.create_initiation(first.identity(), 0, timestamp(), initiation)) break;
    const std::span<uint8_t> bytes = protocol::wire_bytes(initiation);
    cookies.add_macs(bytes, instant());
    std::copy(bytes.begin(), bytes.end(), slots_[0].bytes.begin());
    address_message(slots_[0], headers_[0].msg_hdr, bytes.size(), 0);
    if (io::Status sent = hand_over(1); !sent) return sent;

    pollfd waiting{socket_.get(), POLLIN, 0};
    ::poll(&waiting, 1, kProofPatienceMs);
    std::array<uint8_t, 256> answer;
    const ssize_t count = ::recv(socket_.get(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (count <= 0) continue;
    answered = true;
    const std::span<const uint8_t> message(answer.data(), static_cast<size_t>(count));
    switch (protocol::classify(message)) {
      case protocol::MessageKind::handshake_response:
        if (handshake.consume_response(first.identity(),
                                       protocol::read_message<protocol::HandshakeResponse>(message))) {
          last_sent_[0] = instant();
          return io::Success{};
        }
        break;
      case protocol::MessageKind::cookie_reply:
        (void)cookies.consume_cookie_reply(protocol::read_message<protocol::CookieReply>(message), instant());
        sleep_until(now_ns() + std::chrono::nanoseconds(kMinInterval).count());
        break;
      default:
        break;
    }
  }
  const std::string who = io::to_string(server_);
  return answered ? io::Error{0, "what " + who + " answers is not authentic (is --key-of-server its key?)"}
                  : io::Error{0, who + " answers no handshake (has `wg addconf` given it the peers of --config?)"};
}

io::Result<HandshakeCounts> HandshakePlayer::play(double seconds) {
  const int64_t end = now_ns() + static_cast<int64_t>(seconds * static_cast<double>(kSecond));
  while (now_ns() < end) {
    const protocol::Instant now = instant();
    const size_t received = receive(now);
    give_up_old(now);
    const uint64_t before = counts_.initiations;
    if (io::Status sent = send_due(now); !sent) return sent.error();
    if (received == 0 && counts_.initiations == before) sleep_until(now_ns() + kNap);
  }
  return counts_;
}

// Initiators take turns: when the next one has to wait, all others have too.
io::Status HandshakePlayer::send_due(protocol::Instant now) {
  size_t count = 0;
  while (waiting_ < window_ && count < kBatch && now >= last_sent_[turn_] + kMinInterval &&
         !initiators_[turn_].pending_index()) {
    write_initiation(slots_[count], headers_[count].msg_hdr, now);
    ++count;
    ++waiting_;
    if (++turn_ == initiators_.size()) {
      turn_ = 0;
      ++round_;
    }
  }
  counts_.initiations += count;
  return hand_over(count);
}

void HandshakePlayer::write_initiation(Slot& slot, msghdr& message, protocol::Instant now) {
  const uint32_t index = round_ << kNumberBits | turn_;
  const protocol::HandshakeInitiation initiation = initiators_[turn_].create_initiation(index, timestamp(), now);
  const auto bytes = protocol::wire_bytes(initiation);
  std::copy(bytes.begin(), bytes.end(), slot.bytes.begin());
  address_message(slot, message, bytes.size(), turn_);
  last_sent_[turn_] = now;
  in_flight_.push_back({index, now});
}

io::Status HandshakePlayer::hand_over(size_t count) {
  size_t done = 0;
  while (done < count) {
    const int sent =
        ::sendmmsg(socket_.get(), headers_.data() + done, static_cast<unsigned>(count - done), MSG_NOSIGNAL);
    if (sent > 0) {
      done += static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == ENOBUFS) {
      sleep_until(now_ns() + kNap);
    } else if (errno != EINTR && errno != ECONNREFUSED) {
      return io::Error{errno, "send to " + io::to_string(server_) +
                                  (sources_ ? " (are --sources local? `ip route add local CIDR dev lo`)" : "")};
    }
  }
  return io::Success{};
}

void HandshakePlayer::give_up_old(protocol::Instant now) {
  for (; !in_flight_.empty(); in_flight_.pop_front()) {
    const Sent& oldest = in_flight_.front();
    Initiator* const owner = owner_of(oldest.index);
    if (owner->pending_index() != oldest.index) continue;  // answered
    if (now < oldest.when + kPatience) return;
    owner->give_up();
    --waiting_;
    ++counts_.unanswered;
  }
}

Initiator* HandshakePlayer::owner_of(uint32_t index) {
  const uint32_t number = index & ((uint32_t{1} << kNumberBits) - 1);
  return number < initiators_.size() ? &initiators_[number] : nullptr;
}

size_t HandshakePlayer::receive(protocol::Instant now) {
  for (size_t i = 0; i < kBatch; ++i) {
    slots_[i].part = {slots_[i].bytes.data(), slots_[i].bytes.size()};
    headers_[i].msg_hdr = {};
    headers_[i].msg_hdr.msg_iov = &slots_[i].part;
    headers_[i].msg_hdr.msg_iovlen = 1;
  }
  const int count = ::recvmmsg(socket_.get(), headers_.data(), kBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; ++i) receive_message({slots_[i].bytes.data(), headers_[i].msg_len}, now);
  return static_cast<size_t>(std::max(count, 0));
}

void HandshakePlayer::receive_message(std::span<const uint8_t> message, protocol::Instant now) {
  const protocol::MessageKind kind = protocol::classify(message);
  if (kind == protocol::MessageKind::handshake_response) {
    const auto response = protocol::read_message<protocol::HandshakeResponse>(message);
    Initiator* const owner = owner_of(response.receiver_index);
    if (owner == nullptr || !owner->accept_response(response)) return;
    ++counts_.responses;
  } else if (kind == protocol::MessageKind::cookie_reply) {
    const auto reply = protocol::read_message<protocol::CookieReply>(message);
    Initiator* const owner = owner_of(reply.receiver_index);
    if (owner == nullptr || !owner->accept_cookie(reply, now)) return;
    ++counts_.cookies;
  } else {
    return;
  }
  --waiting_;
}

}  // namespace culvert::traffic
