// The kernel's side of a TUN device and of UDP sockets, in memory: the real queues run over them, by their tables of
// system calls.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

#include "io/fd.h"
#include "io/syscalls.h"
#include "io/udp_message.h"
#include "tests/pipeline/ends.h"
#include "tun/tun_queue.h"

namespace culvert::pipeline::test {

using Random = std::mt19937;

inline size_t below(Random& random, size_t limit) {
  return random() % limit;
}
inline bool chance(Random& random, unsigned percent) {
  return random() % 100 < percent;
}

// A descriptor that is only good for finding `device` again.
template <typename Device>
struct Descriptors {
  static inline std::array<Device*, 4096> devices{};
  static int open(Device* device) {
    const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    devices.at(static_cast<size_t>(fd)) = device;
    return fd;
  }
  static Device& at(int fd) { return *devices[static_cast<size_t>(fd)]; }
};

inline int fail_with(int error) {
  errno = error;
  return -1;
}

// A TUN device. Refuses what `accepts` does not have, as some kernels do although they agreed to take it.
class FakeTun {
 public:
  FakeTun(bool has_header, Random& random) : has_header_(has_header), random_(random) {}

  io::InnerOffloads accepts;
  size_t readable = 0;  // how many packets can be read before it says EAGAIN
  std::deque<InnerPacket> to_read;
  std::vector<InnerPacket> written;
  size_t refusals = 0;

  bool has_header() const { return has_header_; }
  io::Fd open() { return io::Fd(Descriptors<FakeTun>::open(this)); }

  static const io::Syscalls& syscalls() {
    static constexpr io::Syscalls kTable = {
        .read = [](int fd, void* bytes,
                   size_t length) { return Descriptors<FakeTun>::at(fd).read(static_cast<uint8_t*>(bytes), length); },
        .writev = [](int fd, const iovec* parts,
                     int count) { return Descriptors<FakeTun>::at(fd).write(parts, count); },
        .poll = [](pollfd*, nfds_t, int) { return 1; }};
    return kTable;
  }

 private:
  static constexpr size_t kHeaderBytes = 10;  // struct virtio_net_hdr

  ssize_t read(uint8_t* bytes, size_t length) {
    if (chance(random_, 2)) return fail_with(EINTR);
    if (readable == 0 || to_read.empty()) return fail_with(EAGAIN);
    --readable;
    const InnerPacket packet = std::move(to_read.front());
    to_read.pop_front();
    const size_t header = has_header_ ? kHeaderBytes : 0;
    EXPECT_LE(header + packet.bytes.size(), length);
    if (has_header_) encode(packet, bytes);
    std::copy(packet.bytes.begin(), packet.bytes.end(), bytes + header);
    return static_cast<ssize_t>(header + packet.bytes.size());
  }

  ssize_t write(const iovec* parts, int count) {
    if (chance(random_, 2)) return fail_with(EINTR);
    Bytes whole;
    for (int i = 0; i < count; ++i) {
      const auto* const bytes = static_cast<const uint8_t*>(parts[i].iov_base);
      whole.insert(whole.end(), bytes, bytes + parts[i].iov_len);
    }
    InnerPacket packet;
    const size_t header = has_header_ ? kHeaderBytes : 0;
    if (whole.size() < header + 20) return fail_with(EINVAL);
    if (has_header_ && !decode(whole.data(), packet.offload)) {
      ++refusals;
      return fail_with(EINVAL);
    }
    packet.bytes.assign(whole.begin() + static_cast<long>(header), whole.end());
    written.push_back(std::move(packet));
    return static_cast<ssize_t>(whole.size());
  }

  static void encode(const InnerPacket& packet, uint8_t* bytes) {
    const io::Offload& offload = packet.offload;
    const bool v6 = packet.bytes[0] >> 4 == 6;
    const bool congestion_window_reduced =
        offload.gso == io::GsoType::tcp && (packet.bytes[offload.checksum_start + 13U] & 0x80) != 0;
    bytes[0] = offload.needs_checksum ? 1 : 0;
    bytes[1] = 0;
    if (offload.gso == io::GsoType::tcp)
      bytes[1] = static_cast<uint8_t>((v6 ? 4 : 1) | (congestion_window_reduced ? 0x80 : 0));
    if (offload.gso == io::GsoType::udp) bytes[1] = 5;
    const uint16_t words[4] = {offload.header_length, offload.gso_size, offload.checksum_start,
                               offload.checksum_offset};
    std::memcpy(bytes + 2, words, sizeof words);
  }

  // False for what this device does not take.
  bool decode(const uint8_t* bytes, io::Offload& offload) const {
    uint16_t words[4];
    std::memcpy(words, bytes + 2, sizeof words);
    offload = {io::GsoType::none, (bytes[0] & 1) != 0, words[0], words[1], words[2], words[3]};
    const bool v6 = bytes[kHeaderBytes] >> 4 == 6;
    switch (bytes[1] & 0x7f) {
      case 0:
        return !offload.needs_checksum || accepts.checksum;
      case 1:
        offload.gso = io::GsoType::tcp;
        return !v6 && accepts.tcp4;
      case 4:
        offload.gso = io::GsoType::tcp;
        return v6 && accepts.tcp6;
      case 5:
        offload.gso = io::GsoType::udp;
        return v6 ? accepts.udp6 : accepts.udp4;
      default:
        return false;
    }
  }

  const bool has_header_;
  Random& random_;
};

// A datagram on its way.
struct Datagram {
  Bytes bytes;
  io::Endpoint to;
  uint8_t traffic_class = 0;
  bool spoilt = false;  // changed on the way
};

// The UDP sockets of a host. Segments and joins datagrams, and refuses what a kernel may refuse.
class FakeUdp {
 public:
  FakeUdp(const io::Endpoint& at, Random& random) : at_(at), random_(random) {}

  bool segments = true;       // false: EIO for UDP_SEGMENT (a device without checksum offload, before Linux 6.11)
  size_t max_segments = 128;  // more: EINVAL (64 before Linux 6.9)
  size_t path_bytes = 65535;  // UDP_SEGMENT of a larger size: `path_error`
  int path_error = EMSGSIZE;  // or EINVAL
  bool source_is_gone = false;
  unsigned full_percent = 0;  // how often there is no room

  std::vector<Datagram> sent;
  std::deque<Datagram> arriving;
  io::Endpoint peer;  // where they come from
  size_t refused = 0, sources_refused = 0, joined = 0;

  // The table while `this` opens its sockets and ever after.
  const io::Syscalls& syscalls() {
    opening_ = this;
    static const io::Syscalls kTable = make_table();
    return kTable;
  }

 private:
  static io::Syscalls make_table() {
    io::Syscalls table = io::kernel_syscalls();
    table.socket = [](int, int, int) { return Descriptors<FakeUdp>::open(opening_); };
    table.bind = [](int, const sockaddr*, socklen_t) { return 0; };
    table.setsockopt = [](int fd, int level, int name, const void* value, socklen_t) {
      if (level == SOL_UDP && name == UDP_GRO) std::memcpy(&Descriptors<FakeUdp>::at(fd).joins_, value, sizeof joins_);
      if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) Descriptors<FakeUdp>::at(fd).v6_fd_ = fd;
      return 0;
    };
    table.getsockname = [](int fd, sockaddr* address, socklen_t* length) {
      const FakeUdp& self = Descriptors<FakeUdp>::at(fd);
      io::Address any;
      any.family = fd == self.v6_fd_ ? io::Family::v6 : io::Family::v4;
      io::SocketAddress out;
      *length = io::to_socket_address(any, self.at_.port, 0, out);
      std::memcpy(address, &out, *length);
      return 0;
    };
    table.sendmmsg = [](int fd, mmsghdr* messages, unsigned count, int) {
      return Descriptors<FakeUdp>::at(fd).send(messages, count);
    };
    table.recvmmsg = [](int fd, mmsghdr* messages, unsigned count, int, timespec*) {
      return Descriptors<FakeUdp>::at(fd).receive(fd, messages, count);
    };
    table.poll = [](pollfd* fds, nfds_t, int) { return chance(Descriptors<FakeUdp>::at(fds->fd).random_, 80) ? 1 : 0; };
    return table;
  }

  // As sendmmsg(2): a refusal after the first message is reported by the next call only.
  int send(mmsghdr* messages, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const int error = i > 0 && chance(random_, 2) ? EINTR : take(messages[i].msg_hdr);
      if (error == 0) continue;
      return i > 0 ? static_cast<int>(i) : fail_with(error);
    }
    return static_cast<int>(count);
  }

  int take(const msghdr& message) {
    uint16_t segment_size = 0;
    bool has_source = false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(const_cast<msghdr*>(&message), c)) {
      if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
        std::memcpy(&segment_size, CMSG_DATA(c), sizeof segment_size);
      has_source |=
          c->cmsg_type == (c->cmsg_level == IPPROTO_IP ? IP_PKTINFO : IPV6_PKTINFO) && c->cmsg_level != SOL_UDP;
    }
    const auto* const bytes = static_cast<const uint8_t*>(message.msg_iov->iov_base);
    const size_t length = message.msg_iov->iov_len;
    const size_t step = segment_size == 0 ? length : segment_size;
    int error = 0;
    if (has_source && source_is_gone) {
      ++sources_refused;
      error = at_.remote.family == io::Family::v6 ? EINVAL : ENETUNREACH;
    } else if (segment_size != 0 && !segments) {
      error = EIO;
    } else if ((length + step - 1) / step > max_segments) {
      error = EINVAL;
    } else if (segment_size != 0 && step > path_bytes) {
      error = path_error;
    } else if (length > 65507) {
      error = EMSGSIZE;
    } else if (chance(random_, full_percent)) {
      return chance(random_, 50) ? EAGAIN : ENOBUFS;
    } else if (chance(random_, 1)) {
      return EINTR;
    }
    refused += error != 0 ? 1 : 0;
    if (error != 0) return error;
    io::SocketAddress address{};
    std::memcpy(&address, message.msg_name, message.msg_namelen);
    const io::ReceivedControl control = io::read_control(message);
    for (size_t at = 0; at < length; at += step)
      sent.push_back(
          {Bytes(bytes + at, bytes + std::min(length, at + step)), io::remote_of(address), control.traffic_class});
    return 0;
  }

  int receive(int fd, mmsghdr* messages, unsigned count) {
    if ((fd == v6_fd_) != (at_.remote.family == io::Family::v6) || arriving.empty()) return fail_with(EAGAIN);
    if (chance(random_, 2)) return fail_with(chance(random_, 50) ? EINTR : ECONNREFUSED);
    unsigned filled = 0;
    do {
      fill(messages[filled++]);
    } while (filled < count && !arriving.empty() && chance(random_, 90));
    return static_cast<int>(filled);
  }

  // One message: a datagram, or several that UDP_GRO has joined: of one size, but for a shorter last one.
  void fill(mmsghdr& message) {
    msghdr& header = message.msg_hdr;
    auto* const bytes = static_cast<uint8_t*>(header.msg_iov->iov_base);
    const size_t size = arriving.front().bytes.size();
    const uint8_t traffic_class = arriving.front().traffic_class;
    const size_t most = joins_ != 0 ? 1 + below(random_, 64) : 1;
    size_t length = 0, datagrams = 0, last = size;
    while (datagrams < most && !arriving.empty() && last == size) {
      const Datagram& next = arriving.front();
      if (next.bytes.size() > size || next.traffic_class != traffic_class ||
          length + next.bytes.size() > header.msg_iov->iov_len)
        break;
      std::copy(next.bytes.begin(), next.bytes.end(), bytes + length);
      last = next.bytes.size();
      length += last;
      ++datagrams;
      arriving.pop_front();
    }
    joined += datagrams > 1 ? 1 : 0;
    message.msg_len = static_cast<unsigned>(length);
    header.msg_flags = 0;
    io::SocketAddress address{};
    header.msg_namelen = io::to_socket_address(peer.remote, peer.port, 0, address);
    std::memcpy(header.msg_name, &address, header.msg_namelen);
    const size_t room = header.msg_controllen;
    header.msg_controllen = 0;
    const bool v6 = at_.remote.family == io::Family::v6;
    if (datagrams > 1) append(header, SOL_UDP, UDP_GRO, static_cast<int>(size));
    if (v6)
      append(header, IPPROTO_IPV6, IPV6_TCLASS, static_cast<int>(traffic_class));
    else
      append(header, IPPROTO_IP, IP_TOS, traffic_class);
    EXPECT_LE(header.msg_controllen, room);
  }

  template <typename T>
  static void append(msghdr& header, int level, int type, const T& value) {
    auto* const control = reinterpret_cast<cmsghdr*>(static_cast<uint8_t*>(header.msg_control) + header.msg_controllen);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(CMSG_DATA(control), &value, sizeof value);
    header.msg_controllen += CMSG_SPACE(sizeof value);
  }

  static inline FakeUdp* opening_ = nullptr;
  const io::Endpoint at_;
  Random& random_;
  int joins_ = 0;
  int v6_fd_ = -1;
};

}  // namespace culvert::pipeline::test
