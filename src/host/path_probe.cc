#include "src/host/path_probe.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <vector>

#include "io/fd.h"
#include "io/udp_message.h"

namespace culvert::host {
namespace {

constexpr std::chrono::milliseconds kWait{300};  // for an answer; longer than the way around the earth
constexpr int kMostRouters = 5;
constexpr uint16_t kClosedPort = 33434;
constexpr uint64_t kLargest = 65535;
// Where tunnels and access networks end, from the widest: what is tried where large ones vanish.
constexpr std::array<uint64_t, 7> kUsual = {1492, 1480, 1460, 1420, 1380, 1340, 1280};

struct Answer {
  enum class Kind : uint8_t { none, arrived, too_large, unreachable } kind = Kind::none;
  uint64_t mtu_bytes = 0;  // too_large: what would fit
};

class Probe {
 public:
  explicit Probe(const io::Endpoint& target) : v4_(target.remote.family == io::Family::v4) {
    io::SocketAddress address{};
    const socklen_t length = io::to_socket_address(target.remote, kClosedPort, target.scope_id, address);
    fd_.reset(::socket(address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    static_assert(IP_PMTUDISC_PROBE == IPV6_PMTUDISC_PROBE);
    const int discover = IP_PMTUDISC_PROBE, on = 1;
    const int level = v4_ ? IPPROTO_IP : IPPROTO_IPV6;
    if (!fd_ ||
        ::setsockopt(fd_.get(), level, v4_ ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &discover, sizeof discover) != 0 ||
        ::setsockopt(fd_.get(), level, v4_ ? IP_RECVERR : IPV6_RECVERR, &on, sizeof on) != 0 ||
        ::connect(fd_.get(), &address.any, length) != 0)
      fd_.reset();
  }

  Answer send(uint64_t size_bytes) {
    const std::vector<char> payload(size_bytes - (v4_ ? 28 : 48));
    if (!fd_) return {Answer::Kind::unreachable};
    for (int attempt = 0; attempt < 2; ++attempt) {  // the first may bring the error of an earlier datagram
      const bool sent = ::send(fd_.get(), payload.data(), payload.size(), MSG_NOSIGNAL) >= 0;
      if (!sent && errno != EMSGSIZE && attempt == 0) continue;
      if (!sent && errno != EMSGSIZE) return {Answer::Kind::unreachable};
      return wait(size_bytes);
    }
    return {};
  }

 private:
  Answer wait(uint64_t size_bytes) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + kWait;
    for (;;) {
      if (const auto answer = read_answer(size_bytes)) return *answer;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
      pollfd waiting{fd_.get(), 0, 0};
      if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) return {};
    }
  }

  // Nothing: there is none, or one to a datagram that was larger.
  std::optional<Answer> read_answer(uint64_t size_bytes) {
    alignas(cmsghdr) std::array<char, 512> control{};
    char byte = 0;
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(fd_.get(), &message, MSG_ERRQUEUE) < 0) return std::nullopt;
    for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
      if (!(each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_RECVERR) &&
          !(each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_RECVERR))
        continue;
      sock_extended_err error{};
      std::memcpy(&error, CMSG_DATA(each), sizeof error);
      if (error.ee_errno == ECONNREFUSED) return Answer{Answer::Kind::arrived};
      if (error.ee_errno != EMSGSIZE) return Answer{Answer::Kind::unreachable};
      if (error.ee_info < size_bytes && error.ee_info >= 68) return Answer{Answer::Kind::too_large, error.ee_info};
    }
    return std::nullopt;
  }

  bool v4_;
  io::Fd fd_;
};

}  // namespace

PathProbe probe_path(const io::Endpoint& target, uint64_t device_mtu) {
  Probe probe(target);
  PathProbe found;
  found.mtu_bytes = std::clamp<uint64_t>(device_mtu, 68, kLargest);
  Answer answer = probe.send(found.mtu_bytes);
  for (int router = 0; router < kMostRouters && answer.kind == Answer::Kind::too_large; ++router) {
    found.mtu_bytes = answer.mtu_bytes;
    answer = probe.send(found.mtu_bytes);
  }
  found.arrived = answer.kind == Answer::Kind::arrived;
  if (answer.kind == Answer::Kind::unreachable) found.mtu_bytes = 0;
  if (answer.kind != Answer::Kind::none) return found;
  for (const uint64_t size : kUsual) {
    if (size >= found.mtu_bytes || probe.send(size).kind != Answer::Kind::arrived) continue;
    return {size, true, true};
  }
  return found;
}

}  // namespace culvert::host
