#include "src/host/netns_id.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <netlink/attr.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "src/host/netlink.h"

namespace culvert::host {
namespace {

NetlinkMessage make_id_request(int type, int namespace_fd) {
  rtgenmsg fixed{};
  NetlinkMessage request = make_request(type, 0);
  if (request == nullptr || nlmsg_append(request.get(), &fixed, sizeof fixed, NLMSG_ALIGNTO) != 0 ||
      nla_put_u32(request.get(), NETNSA_FD, static_cast<uint32_t>(namespace_fd)) != 0)
    return nullptr;
  return request;
}

// NETNSA_NSID_NOT_ASSIGNED when there is none.
io::Result<int32_t> find_id(int rtnetlink_fd, int namespace_fd) {
  int32_t id = NETNSA_NSID_NOT_ASSIGNED;
  const NetlinkMessage request = make_id_request(RTM_GETNSID, namespace_fd);
  const io::Status status =
      request_rtnetlink(rtnetlink_fd, request.get(), "ask for the id of a network namespace", [&id](nlmsghdr& message) {
        const nlattr* attribute = nlmsg_find_attr(&message, sizeof(rtgenmsg), NETNSA_NSID);
        if (attribute != nullptr && nla_len(attribute) == sizeof id) id = nla_get_s32(attribute);
      });
  if (!status) return status.error();
  return id;
}

}  // namespace

io::Result<io::Fd> open_tun_namespace(int tun_fd) {
  io::Fd fd(::ioctl(tun_fd, TUNGETDEVNETNS, 0));
  if (!fd) return io::Error{errno, "ask the TUN device for its network namespace"};
  return fd;
}

bool is_own_namespace(int namespace_fd) {
  // A new socket is in the thread's namespace. Asking it needs CAP_NET_ADMIN, but no /proc.
  const io::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const io::Fd own_fd(::ioctl(socket.get(), SIOCGSKNS));
  struct stat own {};
  struct stat other {};
  const int known = own_fd ? ::fstat(own_fd.get(), &own) : ::stat("/proc/thread-self/ns/net", &own);
  return known == 0 && ::fstat(namespace_fd, &other) == 0 && own.st_ino == other.st_ino && own.st_dev == other.st_dev;
}

io::Result<int32_t> netns_id(int rtnetlink_fd, int namespace_fd) {
  io::Result<int32_t> found = find_id(rtnetlink_fd, namespace_fd);
  if (!found || *found != NETNSA_NSID_NOT_ASSIGNED) return found;
  const NetlinkMessage request = make_id_request(RTM_NEWNSID, namespace_fd);
  if (request == nullptr || nla_put_s32(request.get(), NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED) != 0)
    return io::Error{ENOMEM, "give a network namespace an id"};
  const io::Status status = request_rtnetlink(rtnetlink_fd, request.get(), "give a network namespace an id");
  // EEXIST: somebody else was faster.
  if (!status && status.error().number != EEXIST) return status.error();
  found = find_id(rtnetlink_fd, namespace_fd);
  if (found && *found == NETNSA_NSID_NOT_ASSIGNED) return io::Error{ENOENT, "give a network namespace an id"};
  return found;
}

}  // namespace culvert::host
