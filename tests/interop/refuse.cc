// A library to preload that makes system calls of the daemon fail as other kernels, devices and moments do.
//
// REFUSE="KIND ERRNO TIMES[,...]", 0 times: always. The first refusal of each writes a line to stderr.
//   trains           sendmmsg of a message with UDP_SEGMENT
//   long_trains      of one with more than 64 datagrams
//   tcp_superpackets writev to the TUN device, by their virtio header
//   udp_superpackets
//   uso              TUNSETOFFLOAD with USO
//   offloads         TUNSETOFFLOAD with anything at all
//   virtio_header    TUNSETIFF with IFF_VNET_HDR
//   udp_segment      setsockopt of UDP_SEGMENT
//   udp_gro          setsockopt of UDP_GRO
#include <dlfcn.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr size_t kVirtioHeaderBytes = 10;
constexpr unsigned kUso = 0x20 | 0x40;  // TUN_F_USO4, TUN_F_USO6: Linux 6.2
constexpr size_t kOldMaxSegments = 64;

struct Rule {
  char kind[32] = "";
  int error = 0;
  int times = 0;  // 0: always
  std::atomic<int> refusals{0};

  bool is_used_up() const { return times != 0 && refusals >= times; }
};

struct Rules {
  Rules() {
    const char* text = std::getenv("REFUSE");
    while (text != nullptr && count < rules.size()) {
      Rule& rule = rules[count];
      if (std::sscanf(text, "%31s %d %d", rule.kind, &rule.error, &rule.times) == 3) ++count;
      text = std::strchr(text, ',');
      if (text != nullptr) ++text;
    }
  }
  std::array<Rule, 8> rules;
  size_t count = 0;
};

// Whether to refuse; errno is set if so. `only_ask`: it is not the turn of this one yet.
bool refuse(const char* kind, bool only_ask = false) {
  static Rules rules;
  for (size_t i = 0; i < rules.count; ++i) {
    Rule& rule = rules.rules[i];
    if (std::strcmp(rule.kind, kind) != 0 || rule.is_used_up()) continue;
    if (only_ask) return true;
    if (rule.refusals++ == 0) dprintf(STDERR_FILENO, "refused: %s\n", kind);
    errno = rule.error;
    return true;
  }
  return false;
}

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

bool refuse_message(const msghdr& message, bool only_ask) {
  uint16_t segment_size = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(const_cast<msghdr*>(&message), c))
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
      std::memcpy(&segment_size, CMSG_DATA(c), sizeof segment_size);
  if (segment_size == 0) return false;
  if (refuse("trains", only_ask)) return true;
  return message.msg_iov->iov_len > kOldMaxSegments * segment_size && refuse("long_trains", only_ask);
}

}  // namespace

extern "C" {

int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  static const auto next = real<int (*)(int, mmsghdr*, unsigned, int)>("sendmmsg");
  // What is refused behind other messages is told by the next call.
  unsigned taken = 0;
  while (taken < count && !refuse_message(messages[taken].msg_hdr, taken > 0)) ++taken;
  if (taken == 0 && count > 0) return -1;
  return next(fd, messages, taken, flags);
}

ssize_t writev(int fd, const iovec* parts, int count) {
  static const auto next = real<ssize_t (*)(int, const iovec*, int)>("writev");
  if (count > 1 && parts[0].iov_len == kVirtioHeaderBytes) {
    switch (static_cast<const uint8_t*>(parts[0].iov_base)[1] & 0x7f) {
      case 1:
      case 4:
        if (refuse("tcp_superpackets")) return -1;
        break;
      case 5:
        if (refuse("udp_superpackets")) return -1;
        break;
      default:
        break;
    }
  }
  return next(fd, parts, count);
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  static const auto next = real<int (*)(int, int, int, const void*, socklen_t)>("setsockopt");
  if (level == SOL_UDP && name == UDP_SEGMENT && refuse("udp_segment")) return -1;
  if (level == SOL_UDP && name == UDP_GRO && refuse("udp_gro")) return -1;
  return next(fd, level, name, value, length);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  static const auto next = real<int (*)(int, unsigned long, void*)>("ioctl");
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const auto offloads = reinterpret_cast<uintptr_t>(argument);
  if (request == TUNSETOFFLOAD && (offloads & kUso) != 0 && refuse("uso")) return -1;
  if (request == TUNSETOFFLOAD && offloads != 0 && refuse("offloads")) return -1;
  if (request == TUNSETIFF && (static_cast<ifreq*>(argument)->ifr_flags & IFF_VNET_HDR) != 0 && refuse("virtio_header"))
    return -1;
  return next(fd, request, argument);
}

}  // extern "C"
