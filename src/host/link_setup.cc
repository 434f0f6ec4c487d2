#include "src/host/link_setup.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>

#include <cerrno>
#include <functional>

#include "src/host/netlink.h"

namespace culvert::host {
namespace {

// Sends one RTM_SETLINK for the interface, filled in by `fill`.
io::Status change_link(const std::string& interface_name, const std::string& action,
                       const std::function<void(nl_msg*, ifinfomsg&)>& fill) {
  io::Result<io::Fd> fd = open_rtnetlink({});
  if (!fd) return fd.error();
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(::if_nametoindex(interface_name.c_str()));
  if (link.ifi_index == 0) return io::Error{errno, action};
  const NetlinkMessage request = make_request(RTM_SETLINK, 0);
  if (request == nullptr || nlmsg_append(request.get(), &link, sizeof link, NLMSG_ALIGNTO) != 0)
    return io::Error{ENOMEM, action};
  fill(request.get(), *static_cast<ifinfomsg*>(nlmsg_data(nlmsg_hdr(request.get()))));
  return request_rtnetlink(fd->get(), request.get(), action);
}

NetlinkMessage make_address_request(int type, int flags, int index, const device::Prefix& address) {
  const bool v4 = address.version == protocol::IpVersion::v4;
  ifaddrmsg fixed{};
  fixed.ifa_family = v4 ? AF_INET : AF_INET6;
  fixed.ifa_prefixlen = address.cidr;
  fixed.ifa_index = static_cast<unsigned>(index);
  const int bytes = v4 ? 4 : 16;
  NetlinkMessage request = make_request(type, flags);
  if (request == nullptr || nlmsg_append(request.get(), &fixed, sizeof fixed, NLMSG_ALIGNTO) != 0 ||
      nla_put(request.get(), IFA_LOCAL, bytes, address.address.data()) != 0 ||
      nla_put(request.get(), IFA_ADDRESS, bytes, address.address.data()) != 0)
    return nullptr;
  return request;
}

// IPv6 is missing from the kernel, or off since it started.
bool is_without_ipv6(int number) {
  return number == EAFNOSUPPORT || number == EOPNOTSUPP;
}

// The kernel's bare errno does not tell what to do about it.
io::Error explain_refused_address(io::Error error, const std::string& interface_name, const device::Prefix& address) {
  if (address.version == protocol::IpVersion::v4) return error;
  if (error.number == EACCES)
    error.context += ": IPv6 is disabled on it; run `sysctl net.ipv6.conf." + interface_name +
                     ".disable_ipv6=0` (net.ipv6.conf.default.disable_ipv6=0 for new interfaces), or leave the address "
                     "out";
  else if (is_without_ipv6(error.number))
    error.context += ": this kernel runs without IPv6 (ipv6.disable=1?); leave the address out";
  else if (error.number == EINVAL || error.number == ENODEV)
    error.context += ": IPv6 needs an MTU of at least 1280; raise it, or leave the address out";
  return error;
}

}  // namespace

io::Status set_link_mtu(const std::string& interface_name, uint32_t mtu_bytes) {
  return change_link(
      interface_name, "set the MTU of " + interface_name + " to " + std::to_string(mtu_bytes),
      [mtu_bytes](nl_msg* request, ifinfomsg&) {
        nla_put_u32(request, IFLA_MTU, mtu_bytes);  // there is a page of room
      });
}

io::Status set_link_up(const std::string& interface_name) {
  return change_link(
      interface_name, "bring up " + interface_name,
      [](nl_msg*, ifinfomsg& link) {
        link.ifi_flags = IFF_UP;
        link.ifi_change = IFF_UP;
      });
}

io::Status forgo_link_local_address(const std::string& interface_name) {
  io::Status status = change_link(interface_name, "keep " + interface_name + " without a link-local address",
                                  [](nl_msg* request, ifinfomsg&) {
                                    nlattr* const families = nla_nest_start(request, IFLA_AF_SPEC);
                                    nlattr* const ipv6 = nla_nest_start(request, AF_INET6);
                                    nla_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
                                    nla_nest_end(request, ipv6);
                                    nla_nest_end(request, families);
                                  });
  if (!status && is_without_ipv6(status.error().number)) return io::Success{};
  return status;
}

io::Status add_link_addresses(const std::string& interface_name, std::span<const device::Prefix> addresses) {
  io::Result<io::Fd> fd = open_rtnetlink({});
  if (!fd) return fd.error();
  const int index = static_cast<int>(::if_nametoindex(interface_name.c_str()));
  if (index == 0) return io::Error{errno, "add addresses to " + interface_name};
  for (const device::Prefix& address : addresses) {
    const NetlinkMessage request = make_address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address);
    io::Status status = request_rtnetlink(fd->get(), request.get(),
                                          "add address " + device::to_string(address) + " to " + interface_name);
    if (!status && status.error().number != EEXIST)
      return explain_refused_address(status.error(), interface_name, address);
  }
  return io::Success{};
}

io::Status remove_link_address(const std::string& interface_name, const device::Prefix& address) {
  io::Result<io::Fd> fd = open_rtnetlink({});
  if (!fd) return fd.error();
  const int index = static_cast<int>(::if_nametoindex(interface_name.c_str()));
  if (index == 0) return io::Success{};
  const NetlinkMessage request = make_address_request(RTM_DELADDR, 0, index, address);
  io::Status status = request_rtnetlink(fd->get(), request.get(),
                                        "remove address " + device::to_string(address) + " from " + interface_name);
  if (!status && status.error().number == EADDRNOTAVAIL) return io::Success{};
  return status;
}

}  // namespace culvert::host
