#include "tun/tun_device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "io/uring/ring_transfer.h"
#include "src/packet/header_fields.h"
#include "tun/vnet_header.h"

namespace culvert::tun {
namespace {

// Newer than the headers of Debian 12 (Linux 6.1).
constexpr unsigned kUdpOffloads = 0x20 | 0x40;            // TUN_F_USO4, TUN_F_USO6: Linux 6.2
constexpr unsigned long kTunGetDevNetNs = _IO('T', 227);  // TUNGETDEVNETNS: Linux 5.2

// TUN's own 500 packets are less than a batch of superpackets cut by a device without offloads.
constexpr int kTransmitQueueLength = 1000;

constexpr unsigned kTcpOffloads = TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

io::Error error_of(std::string context) {
  return io::Error{errno, std::move(context)};
}

ifreq request_for(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

// Why /dev/net/tun cannot be opened, and the mend.
io::Error open_error() {
  const int number = errno;
  std::string context = "open /dev/net/tun";
  if (number == ENOENT || number == ENODEV || number == ENXIO)
    context += ": load it by `modprobe tun`; a container has to be given the device";
  return {number, std::move(context)};
}

// Why the kernel refuses a device of this name, and the mend where we know one.
io::Error create_error(const std::string& name) {
  const int number = errno;
  const std::string context = "create TUN device " + name + ": ";
  if (number == EBUSY) return {number, context + "another process has it; end that process or choose another name"};
  if (number == EPERM) return {number, context + "run as root or with CAP_NET_ADMIN"};
  if (number == EINVAL && ::if_nametoindex(name.c_str()) != 0)
    return {EEXIST, context + "an interface " + name + " exists and is no TUN device; choose another name"};
  return {number, "create TUN device " + name};
}

// Opens one queue with exactly these flags. `name` becomes the name that the kernel gave.
io::Result<io::Fd> open_queue(std::string& name, int flags) {
  io::Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return open_error();
  ifreq request = request_for(name);
  request.ifr_flags = static_cast<short>(flags);
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return create_error(name);
  name = request.ifr_name;
  return fd;
}

// Takes the offloads one kind less at a time until the kernel agrees. They are the device's, not the queue's, and
// a persistent device keeps those of its last owner: without virtio header nothing could tell us of them.
io::InnerOffloads agree_on_offloads(int fd, bool vnet_header, const TunOptions& options) {
  const bool vnet = vnet_header && options.vnet;
  const auto agree = [&](bool tcp, bool udp) {
    const unsigned flags = TUN_F_CSUM | (tcp ? kTcpOffloads : 0) | (udp ? kUdpOffloads : 0);
    return vnet && ::ioctl(fd, TUNSETOFFLOAD, flags) == 0;
  };
  if (options.uso && agree(options.tso, true)) return {options.tso, options.tso, true, true, true};
  if (options.tso && agree(true, false)) return {true, true, false, false, true};
  if (agree(false, false)) return {false, false, false, false, true};
  ::ioctl(fd, TUNSETOFFLOAD, 0);
  return {};
}

// Writes one superpacket of two segments that the kernel will drop: its source is the broadcast address. A
// device that is down says EIO, after it has looked at the virtio header (since Linux 5.0); a kernel that
// refuses superpackets says EINVAL.
bool takes_superpacket(int fd, io::GsoType gso) {
  const bool tcp = gso == io::GsoType::tcp;
  const uint32_t transport_header = tcp ? packet::kTcpHeaderBytes : packet::kUdpHeaderBytes;
  std::array<uint8_t, kVnetHeaderBytes + packet::kIpv4HeaderBytes + packet::kTcpHeaderBytes + 16> bytes{};
  const uint32_t packet_length = packet::kIpv4HeaderBytes + transport_header + 16;
  io::Offload offload;
  offload.gso = gso;
  offload.needs_checksum = true;
  offload.header_length = static_cast<uint16_t>(packet::kIpv4HeaderBytes + transport_header);
  offload.gso_size = 8;
  offload.checksum_start = packet::kIpv4HeaderBytes;
  offload.checksum_offset = static_cast<uint16_t>(tcp ? packet::kTcpChecksum : packet::kUdpChecksum);
  encode_vnet_header(offload, false, bytes.data());
  uint8_t* const ip = bytes.data() + kVnetHeaderBytes;
  ip[0] = 0x45;
  packet::store_be16(ip + packet::kIpv4TotalLength, packet_length);
  ip[packet::kIpv4Ttl] = 1;
  ip[packet::kIpv4Protocol] = tcp ? IPPROTO_TCP : IPPROTO_UDP;
  packet::store_be32(ip + packet::kIpv4Source, 0xffffffff);
  uint8_t* const transport = ip + packet::kIpv4HeaderBytes;
  if (tcp) {
    transport[packet::kTcpDataOffset] = 0x50;
    transport[packet::kTcpFlags] = packet::kTcpAckFlag;
  } else {
    packet::store_be16(transport + packet::kUdpLength, packet_length - packet::kIpv4HeaderBytes);
  }
  return ::write(fd, bytes.data(), kVnetHeaderBytes + packet_length) >= 0 || errno != EINVAL;
}

// The transfer of a queue; null for the usual one. On a kernel whose TUN may wait whatever io_uring says (before Linux
// 5.11), it would use threads of its own and mix up the order: there even a write that is refused is refused otherwise.
io::Result<std::unique_ptr<io::Transfer>> make_transfer(int fd, io::Engine engine) {
  if (io::chosen_engine(engine) == io::Engine::epoll) return std::unique_ptr<io::Transfer>();
  auto ring = io::Ring::open();
  if (!ring) return ring.error();
  uint8_t no_packet = 0;
  const iovec part{&no_packet, 1};
  if (::pwritev2(fd, &part, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP)
    return error_of("read and write a TUN device by io_uring (Linux 5.11 and later can)");
  return std::unique_ptr<io::Transfer>(
      std::make_unique<io::RingTransfer>(std::move(*ring), io::RingTransfer::For::packet_devices));
}

io::Result<io::Fd> control_socket() {
  io::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return error_of("open a socket");
  return fd;
}

}  // namespace

bool udp_superpackets_are_safe(io::KernelVersion kernel) {
  const bool fixed_long_term = kernel >= io::KernelVersion{6, 6, 26} && kernel < io::KernelVersion{6, 7, 0};
  return fixed_long_term || kernel >= io::KernelVersion{6, 8, 5};
}

io::Result<std::unique_ptr<TunDevice>> TunDevice::create(const std::string& name, const TunOptions& options) {
  if (name.empty() || name.size() >= IFNAMSIZ) return io::Error{EINVAL, "TUN device name '" + name + "'"};
  if (options.queues < 1 || options.queues > kMaxQueues)
    return io::Error{EINVAL, std::to_string(options.queues) + " queues of TUN device " + name};
  std::string real_name = name;
  const int many = options.queues > 1 ? IFF_MULTI_QUEUE : 0;
  int flags = IFF_TUN | IFF_NO_PI | many | (options.vnet ? IFF_VNET_HDR : 0);
  io::Result<io::Fd> first = open_queue(real_name, flags);
  // A persistent device was made with several queues, or the kernel knows no virtio header.
  for (const int other : {flags | IFF_MULTI_QUEUE, flags & ~IFF_VNET_HDR}) {
    if (first || (first.error().number != EINVAL && first.error().number != EEXIST) || other == flags) continue;
    if (io::Result<io::Fd> again = open_queue(real_name, other)) {
      first = std::move(again);
      flags = other;
    }
  }
  if (!first) return first.error();
  std::unique_ptr<TunDevice> device(new TunDevice);
  device->name_ = real_name;
  const bool vnet_header = (flags & IFF_VNET_HDR) != 0;
  if (io::Status added = device->add_queue(std::move(*first), vnet_header, options); !added) return added.error();
  for (int i = 1; i < options.queues; ++i) {
    io::Result<io::Fd> next = open_queue(real_name, flags);
    if (!next) return next.error();
    if (io::Status added = device->add_queue(std::move(*next), vnet_header, options); !added) return added.error();
  }
  device->set_transmit_queue_length();
  return device;
}

io::Result<std::unique_ptr<TunDevice>> TunDevice::adopt(io::Fd fd, const TunOptions& options) {
  ifreq request{};
  if (::ioctl(fd.get(), TUNGETIFF, &request) != 0) {
    errno = errno == ENOTTY ? EBADFD : errno;
    return error_of("adopt descriptor " + std::to_string(fd.get()) + " as a TUN device");
  }
  const std::string name = request.ifr_name;
  if ((request.ifr_flags & IFF_TUN) == 0) return io::Error{EINVAL, name + " is a TAP device"};
  const int status = ::fcntl(fd.get(), F_GETFL);
  if (status < 0 || ::fcntl(fd.get(), F_SETFL, status | O_NONBLOCK) != 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0)
    return error_of("make the descriptor of " + name + " non-blocking");
  const bool vnet_header = (request.ifr_flags & IFF_VNET_HDR) != 0;
  std::unique_ptr<TunDevice> device(new TunDevice);
  device->name_ = name;
  if (io::Status added = device->add_queue(std::move(fd), vnet_header, options); !added) return added.error();
  device->set_transmit_queue_length();
  return device;
}

io::Status TunDevice::add_queue(io::Fd fd, bool vnet_header, const TunOptions& options) {
  // Who had the device before us may have asked for another size.
  if (int bytes = kVnetHeaderBytes; vnet_header && ::ioctl(fd.get(), TUNSETVNETHDRSZ, &bytes) != 0)
    return error_of("set the virtio header size of " + name_);
  io::InnerOffloads offloads = agree_on_offloads(fd.get(), vnet_header, options);
  const bool tcp = options.join && offloads.tcp4 && takes_superpacket(fd.get(), io::GsoType::tcp);
  const bool udp = options.join && offloads.udp4 && udp_superpackets_are_safe(io::kernel_version()) &&
                   takes_superpacket(fd.get(), io::GsoType::udp);
  offloads = {tcp, tcp, udp, udp, offloads.checksum};
  // A full send buffer would make writes wait or fail; the kernel's default already is that, an adopter's may
  // not be.
  int unlimited = INT_MAX;
  ::ioctl(fd.get(), TUNSETSNDBUF, &unlimited);
  auto transfer = make_transfer(fd.get(), options.engine);
  if (!transfer) return transfer.error();
  queues_.push_back(
      std::make_unique<TunQueue>(std::move(fd), vnet_header, offloads, io::kernel_syscalls(), std::move(*transfer)));
  return io::Success{};
}

// A wish: an unprivileged adopter goes without.
void TunDevice::set_transmit_queue_length() {
  const io::Result<io::Fd> socket = control_socket();
  if (!socket) return;
  ifreq request = request_for(name_);
  if (::ioctl((*socket).get(), SIOCGIFTXQLEN, &request) != 0 || request.ifr_qlen >= kTransmitQueueLength) return;
  request.ifr_qlen = kTransmitQueueLength;
  ::ioctl((*socket).get(), SIOCSIFTXQLEN, &request);
}

const std::string& TunDevice::name() {
  ifreq request{};
  if (::ioctl(queues_[0]->fd(), TUNGETIFF, &request) == 0) name_ = request.ifr_name;
  return name_;
}

io::Result<int> TunDevice::mtu() {
  io::Result<io::Fd> socket = control_socket();
  if (!socket) return socket.error();
  ifreq request = request_for(name());
  if (::ioctl(socket->get(), SIOCGIFMTU, &request) != 0) return error_of("read the MTU of " + name_);
  return request.ifr_mtu;
}

io::Status TunDevice::set_mtu(int mtu) {
  io::Result<io::Fd> socket = control_socket();
  if (!socket) return socket.error();
  ifreq request = request_for(name());
  request.ifr_mtu = mtu;
  if (::ioctl(socket->get(), SIOCSIFMTU, &request) != 0)
    return error_of("set the MTU of " + name_ + " to " + std::to_string(mtu));
  return io::Success{};
}

io::Result<io::Fd> TunDevice::device_namespace_fd() const {
  const int fd = ::ioctl(queues_[0]->fd(), kTunGetDevNetNs);
  if (fd < 0) return error_of("get the network namespace of " + name_);
  return io::Fd(fd);
}

}  // namespace culvert::tun
