#include "bench/traffic/packet_tap.h"

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "bench/traffic/clock.h"
#include "bench/traffic/sockets.h"

namespace culvert::traffic {
namespace {

constexpr uint32_t kUdpHeaderBytes = 8;
constexpr size_t kCaptureBytes = 128;
constexpr int kBufferBytes = 16 << 20;  // some ten thousand probes: read at the end, in nobody's way

sock_filter statement(uint32_t code, uint32_t k) {
  return {static_cast<uint16_t>(code), 0, 0, k};
}

// Goes on if it holds, else over the next `skip` instructions.
sock_filter go_on_if_equal(uint32_t k, uint8_t skip) {
  return {BPF_JMP | BPF_JEQ | BPF_K, 0, skip, k};
}

// Offsets are from the IP header. Headers with options or extensions are no probe's.
std::vector<sock_filter> program_of(const TapFilter& filter) {
  const bool v6 = filter.family == io::Family::v6;
  std::vector<sock_filter> program = {statement(BPF_LD | BPF_B | BPF_ABS, v6 ? 6 : 9),  // the protocol
                                      go_on_if_equal(IPPROTO_UDP, filter.port != 0 ? 3 : 4)};
  if (filter.port != 0) {
    program.push_back(statement(BPF_LD | BPF_H | BPF_ABS, v6 ? 42 : 22));
    program.push_back(go_on_if_equal(filter.port, 1));
  } else {
    program.push_back(statement(BPF_LD | BPF_H | BPF_ABS, 0));  // holds the traffic class
    program.push_back(statement(BPF_ALU | BPF_AND | BPF_K, v6 ? 0x30 : 0x03));
    program.push_back(go_on_if_equal(v6 ? 0x10 : 0x01, 1));
  }
  program.push_back(statement(BPF_RET | BPF_K, kCaptureBytes));
  program.push_back(statement(BPF_RET | BPF_K, 0));
  return program;
}

int64_t stamp_of(msghdr& message) {
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec time{};
    std::memcpy(&time, CMSG_DATA(each), sizeof time);
    return time.tv_sec * kSecond + time.tv_nsec;
  }
  return 0;
}

}  // namespace

io::Result<PacketTap> PacketTap::open(const std::string& device, bool leaving, const TapFilter& filter) {
  const unsigned index = ::if_nametoindex(device.c_str());
  if (index == 0) return io::Error{errno, "find the device " + device};
  // Of no protocol until it is bound: it sees nothing before the filter is there.
  io::Fd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return io::Error{errno, "open a packet socket (it needs CAP_NET_RAW)"};
  std::vector<sock_filter> program = program_of(filter);
  const sock_fprog attached = {static_cast<uint16_t>(program.size()), program.data()};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof attached) != 0)
    return io::Error{errno, "filter what a packet socket sees"};
  if (auto set = set_option(fd.get(), SOL_SOCKET, SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS"); !set) return set.error();
  set_receive_buffer(fd.get(), kBufferBytes);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);  // any other sees nothing that leaves
  address.sll_ifindex = static_cast<int>(index);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return io::Error{errno, "bind a packet socket to " + device};
  return PacketTap(std::move(fd), leaving, filter.family);
}

void PacketTap::drain(const std::function<void(const Sighting&)>& take) const {
  const uint32_t headers = (family_ == io::Family::v6 ? 40 : 20) + kUdpHeaderBytes;
  std::array<uint8_t, kCaptureBytes> bytes;
  for (;;) {
    alignas(cmsghdr) std::array<uint8_t, 64> control;
    sockaddr_ll from{};
    iovec part = {bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(fd_.get(), &message, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;
    const auto captured = static_cast<uint32_t>(got);
    if ((from.sll_pkttype == PACKET_OUTGOING) != leaving_ || captured < headers) continue;
    const uint8_t* const udp = bytes.data() + headers - kUdpHeaderBytes;
    const uint32_t udp_bytes = uint32_t{udp[4]} << 8 | udp[5];
    if (udp_bytes < kUdpHeaderBytes) continue;  // also the 0 of a superpacket that is too long to say
    take({bytes.data() + headers, captured - headers, udp_bytes - kUdpHeaderBytes, stamp_of(message)});
  }
}

}  // namespace culvert::traffic
