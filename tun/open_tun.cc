#include "tun/open_tun.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <span>
#include <thread>

namespace culvert::tun {
namespace {

// Newer than the headers of Debian 12 (Linux 6.1): TUNGETDEVNETNS, Linux 5.2.
constexpr unsigned long kTunGetDevNetNs = _IO('T', 227);

io::Error error_of(std::string context) {
  return io::Error{errno, std::move(context)};
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
io::Error create_error(const std::string& name, int number) {
  const std::string context = "create TUN device " + name + ": ";
  if (number == EBUSY) return {number, context + "another process has it; end that process or choose another name"};
  if (number == EPERM) return {number, context + "run as root or with CAP_NET_ADMIN"};
  if (number == EINVAL && ::if_nametoindex(name.c_str()) != 0)
    return {EEXIST, context + "an interface " + name + " exists and is no TUN device; choose another name"};
  return {number, "create TUN device " + name};
}

// Opens one queue with exactly these flags.
io::Result<OpenedTun> open_with(const std::string& name, int flags) {
  io::Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return open_error();
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return create_error(name, errno);
  return OpenedTun{std::move(fd), request.ifr_name, (flags & IFF_VNET_HDR) != 0, (flags & IFF_MULTI_QUEUE) != 0};
}

// The attribute `type` among those in `bytes`; none if it is not there.
std::span<const uint8_t> attribute(std::span<const uint8_t> bytes, int type) {
  rtattr header{};
  while (bytes.size() >= sizeof header) {
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.rta_len < sizeof header || header.rta_len > bytes.size()) break;
    if ((header.rta_type & NLA_TYPE_MASK) == type) return bytes.subspan(sizeof header, header.rta_len - sizeof header);
    bytes = bytes.subspan(std::min<size_t>(RTA_ALIGN(header.rta_len), bytes.size()));
  }
  return {};
}

uint32_t number_in(std::span<const uint8_t> bytes) {
  uint32_t number = 0;
  if (bytes.size() == sizeof number) std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

// How many queues of the multi-queue device somebody has. 0 also where that cannot be found out (before Linux 4.17).
uint32_t queues_in_use(const std::string& name) {
  struct {
    nlmsghdr header{sizeof(nlmsghdr) + sizeof(ifinfomsg), RTM_GETLINK, NLM_F_REQUEST, 0, 0};
    ifinfomsg link{};
  } request;
  request.link.ifi_index = static_cast<int>(::if_nametoindex(name.c_str()));
  const io::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (request.link.ifi_index == 0 || ::send(fd.get(), &request, sizeof request, 0) < 0) return 0;
  std::array<uint8_t, 16384> answer;
  const ssize_t length = ::recv(fd.get(), answer.data(), answer.size(), 0);
  constexpr size_t kFixed = NLMSG_LENGTH(NLMSG_ALIGN(sizeof(ifinfomsg)));
  if (length < static_cast<ssize_t>(kFixed)) return 0;
  const auto all = std::span(answer).first(static_cast<size_t>(length)).subspan(kFixed);
  const auto tun = attribute(attribute(all, IFLA_LINKINFO), IFLA_INFO_DATA);
  return number_in(attribute(tun, IFLA_TUN_NUM_QUEUES)) + number_in(attribute(tun, IFLA_TUN_NUM_DISABLED_QUEUES));
}

// Takes a device that exists. Its queues follow us only if we are the first: many at once would be a mix-up.
io::Result<OpenedTun> open_existing(const std::string& name, bool vnet_header) {
  if (queues_in_use(name) != 0) return create_error(name, EBUSY);
  const int wanted = IFF_TUN | IFF_NO_PI | (vnet_header ? IFF_VNET_HDR : 0);
  constexpr int kLeast = IFF_TUN | IFF_NO_PI;
  io::Result<OpenedTun> opened = open_with(name, wanted | IFF_MULTI_QUEUE);
  for (const int flags : {wanted, kLeast | IFF_MULTI_QUEUE, kLeast})
    if (!opened && (opened.error().number == EINVAL || opened.error().number == EEXIST))
      opened = open_with(name, flags);
  return opened;
}

bool same_namespace(const io::Fd& a, const io::Fd& b) {
  struct stat one {
  }, other{};
  return ::fstat(a.get(), &one) == 0 && ::fstat(b.get(), &other) == 0 && one.st_ino == other.st_ino &&
         one.st_dev == other.st_dev;
}

// The network namespace of the calling thread; none where it must not be asked for (CAP_NET_ADMIN).
io::Fd open_own_namespace() {
  const io::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return io::Fd(::ioctl(socket.get(), SIOCGSKNS));
}

}  // namespace

io::Result<OpenedTun> open_tun(const std::string& name, bool vnet_header, bool multi_queue) {
  const int most = IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL | (multi_queue ? IFF_MULTI_QUEUE : 0);
  io::Result<OpenedTun> opened = open_with(name, most | (vnet_header ? IFF_VNET_HDR : 0));
  if (!opened && opened.error().number == EINVAL && vnet_header) opened = open_with(name, most);
  // IFF_TUN_EXCL: it is there already. Without it we would join the queues of another process.
  if (!opened && opened.error().number == EBUSY) return open_existing(name, vnet_header);
  return opened;
}

io::Result<io::Fd> open_device_namespace(int fd, const std::string& name) {
  io::Fd found(::ioctl(fd, kTunGetDevNetNs));
  if (!found) return error_of("get the network namespace of " + name);
  return found;
}

io::Result<io::Fd> open_another_queue(int first) {
  ifreq device{};
  if (::ioctl(first, TUNGETIFF, &device) != 0) return error_of("ask a TUN device for its name");
  const std::string name = device.ifr_name;
  const int flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | (device.ifr_flags & IFF_VNET_HDR);
  const io::Result<io::Fd> there = open_device_namespace(first, name);
  const io::Fd here = open_own_namespace();
  io::Result<OpenedTun> opened = io::Error{EAGAIN, "add a queue to " + name};
  if (!there || !here || same_namespace(*there, here)) {
    opened = open_with(name, flags);
  } else {
    // Names are looked up where the opening thread is, and a thread that cannot come back would be lost.
    std::thread([&] {
      if (::setns(there->get(), CLONE_NEWNET) == 0)
        opened = open_with(name, flags);
      else
        opened = error_of("enter the network namespace of " + name);
    }).join();
  }
  if (!opened) return opened.error();
  // Renamed or moved meanwhile, its name may be that of another device, or of a new one that ends with our descriptor.
  ifreq now{}, got{};
  const bool known = ::ioctl(first, TUNGETIFF, &now) == 0 && ::ioctl(opened->fd.get(), TUNGETIFF, &got) == 0;
  const io::Result<io::Fd> now_there = open_device_namespace(opened->fd.get(), name);
  const bool same_place = !there || (now_there && same_namespace(*there, *now_there));
  if (!known || !same_place || std::strncmp(now.ifr_name, got.ifr_name, IFNAMSIZ) != 0)
    return io::Error{EAGAIN, "add a queue to " + name + ", which was renamed or moved meanwhile"};
  return std::move(opened->fd);
}

}  // namespace culvert::tun
