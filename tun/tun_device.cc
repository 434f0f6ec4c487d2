#include "tun/tun_device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <climits>

#include "io/uring/ring_transfer.h"
#include "src/packet/header_fields.h"
#include "tun/open_tun.h"
#include "tun/tun_steering.h"
#include "tun/vnet_header.h"

namespace culvert::tun {
namespace {

// Newer than the headers of Debian 12 (Linux 6.1): TUN_F_USO4, TUN_F_USO6, Linux 6.2.
constexpr unsigned kUdpOffloads = 0x20 | 0x40;

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
  io::Result<OpenedTun> opened = open_tun(name, options.vnet, options.multi_queue || options.queues > 1);
  if (!opened) return opened.error();
  std::unique_ptr<TunDevice> device(new TunDevice(options));
  device->name_ = opened->name;
  device->multi_queue_ = opened->multi_queue;
  if (io::Status taken = device->take_first_queue(std::move(opened->fd), opened->vnet_header); !taken)
    return taken.error();
  while (device->can_grow() && device->queue_count() < static_cast<size_t>(options.queues))
    if (io::Status added = device->add_queue(); !added) return added.error();
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
  std::unique_ptr<TunDevice> device(new TunDevice(options));
  device->name_ = name;
  if (io::Status taken = device->take_first_queue(std::move(fd), vnet_header); !taken) return taken.error();
  device->set_transmit_queue_length();
  return device;
}

// What the first queue agrees on holds for the device. The packets that probe it are lost in a device that is down, but
// not in one that carries traffic.
io::Status TunDevice::take_first_queue(io::Fd fd, bool vnet_header) {
  // Who had the device before us may have asked for another size.
  if (int bytes = kVnetHeaderBytes; vnet_header && ::ioctl(fd.get(), TUNSETVNETHDRSZ, &bytes) != 0)
    return error_of("set the virtio header size of " + name_);
  io::InnerOffloads offloads = agree_on_offloads(fd.get(), vnet_header, options_);
  const bool tcp = options_.join && offloads.tcp4 && takes_superpacket(fd.get(), io::GsoType::tcp);
  const bool udp = options_.join && offloads.udp4 && udp_superpackets_are_safe(io::kernel_version()) &&
                   takes_superpacket(fd.get(), io::GsoType::udp);
  offloads = {tcp, tcp, udp, udp, offloads.checksum};
  // A full send buffer would make writes wait or fail; the kernel's default already is that, an adopter's may
  // not be.
  int unlimited = INT_MAX;
  ::ioctl(fd.get(), TUNSETSNDBUF, &unlimited);
  return take_queue(std::move(fd), vnet_header, offloads);
}

io::Status TunDevice::take_queue(io::Fd fd, bool vnet_header, const io::InnerOffloads& offloads) {
  auto transfer = make_transfer(fd.get(), options_.engine);
  if (!transfer) return transfer.error();
  queues_.push_back(
      std::make_unique<TunQueue>(std::move(fd), vnet_header, offloads, io::kernel_syscalls(), std::move(*transfer)));
  return io::Success{};
}

// Another one like the first.
io::Result<std::unique_ptr<TunQueue>> TunDevice::open_queue() {
  io::Result<io::Fd> fd = open_another_queue(queues_[0]->fd());
  if (!fd) return fd.error();
  auto transfer = make_transfer(fd->get(), options_.engine);
  if (!transfer) return transfer.error();
  const TunQueue& first = *queues_[0];
  return std::make_unique<TunQueue>(std::move(*fd), first.has_vnet_header(), first.offloads(), io::kernel_syscalls(),
                                    std::move(*transfer));
}

io::Status TunDevice::add_queue() {
  if (!can_grow()) return io::Error{EOPNOTSUPP, "add a queue to " + name() + ", which was not made for several"};
  io::Result<std::unique_ptr<TunQueue>> queue = open_queue();
  if (!queue) return queue.error();
  if (lanes_ != nullptr)
    if (io::Status added = add_lane(**queue, queues_.size()); !added) return added;
  queues_.push_back(std::move(*queue));
  return io::Success{};
}

// The queue behind `queue`, for the sparse flows of this worker.
io::Status TunDevice::add_lane(TunQueue& queue, size_t worker) {
  io::Result<std::unique_ptr<TunQueue>> sparse = open_queue();
  if (!sparse) return sparse.error();
  queue.pair_with(std::move(*sparse), worker < lanes_->count() ? &lanes_->of(worker) : nullptr);
  return io::Success{};
}

void TunDevice::remove_last_queue() {
  assert(queues_.size() > 1);
  queues_.pop_back();
}

io::Status TunDevice::steer(const io::SteeringMap& table) {
  if (options_.lanes && can_grow() && queues_.size() == 1 && lanes_ == nullptr && steer_lanes(table))
    return io::Success{};
  const io::Result<TunSteering> steering = load_tun_steering(table, packet::make_flow_hash_key());
  if (!steering) return steering.error();
  return attach_tun_steering(queues_[0]->fd(), steering->program);
}

// As long as there is one queue, the program may say what it likes.
io::Status TunDevice::steer_lanes(const io::SteeringMap& table) {
  const auto count = static_cast<uint32_t>(std::clamp(::get_nprocs_conf(), 1, kMaxQueues / 2));
  const io::Result<TunSteering> steering = load_tun_steering(table, packet::make_flow_hash_key(), count);
  if (!steering) return steering.error();
  auto lanes = Lanes::map(steering->lanes, count);
  if (!lanes) return lanes.error();
  if (io::Status attached = attach_tun_steering(queues_[0]->fd(), steering->program); !attached) return attached;
  lanes_ = std::move(*lanes);
  io::Status added = add_lane(*queues_[0], 0);
  if (!added) lanes_ = nullptr;
  return added;
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
  return open_device_namespace(queues_[0]->fd(), name_);
}

}  // namespace culvert::tun
