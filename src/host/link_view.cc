#include "src/host/link_view.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "src/host/netlink.h"

namespace culvert::host {
namespace {

// A neighbour in one of these states has a MAC address that is good until something else is known.
constexpr uint16_t kGoodStates = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;

io::Family family_of(uint8_t family) {
  return family == AF_INET ? io::Family::v4 : io::Family::v6;
}

// The address in an attribute; none: it is not there, or not of the family's length.
std::optional<io::Address> address_in(const nlattr* attribute, uint8_t family) {
  const int bytes = family == AF_INET ? 4 : family == AF_INET6 ? 16 : -1;
  if (attribute == nullptr || nla_len(attribute) != bytes) return std::nullopt;
  io::Address address;
  address.family = family_of(family);
  std::memcpy(address.bytes.data(), nla_data(attribute), static_cast<size_t>(bytes));
  return address;
}

bool read_mac(const nlattr* attribute, std::array<uint8_t, 6>& mac) {
  if (attribute == nullptr || nla_len(attribute) != static_cast<int>(mac.size())) return false;
  std::memcpy(mac.data(), nla_data(attribute), mac.size());
  return true;
}

// Sends a request with `head` as its head, and reads each answer's head and attributes.
template <typename Head, size_t kMost, typename Visit>
io::Status ask(int fd, int type, int flags, const Head& head, const std::string& action, Visit&& visit) {
  const NetlinkMessage message = make_request(type, flags);
  if (message == nullptr || nlmsg_append(message.get(), const_cast<Head*>(&head), sizeof head, NLMSG_ALIGNTO) != 0)
    return io::Error{ENOMEM, action};
  return request_rtnetlink(fd, message.get(), action, [&](nlmsghdr& reply) {
    std::array<nlattr*, kMost + 1> attributes{};
    if (nlmsg_parse(&reply, sizeof(Head), attributes.data(), static_cast<int>(kMost), nullptr) != 0) return;
    visit(*static_cast<const Head*>(nlmsg_data(&reply)), attributes);
  });
}

io::Status read_link(int fd, unsigned index, LinkView& view) {
  ifinfomsg head{};
  head.ifi_index = static_cast<int>(index);
  return ask<ifinfomsg, IFLA_MAX>(fd, RTM_GETLINK, NLM_F_ACK, head, "read the interface",
                                  [&](const ifinfomsg&, const auto& attributes) {
                                    if (attributes[IFLA_MTU] != nullptr) view.mtu = nla_get_u32(attributes[IFLA_MTU]);
                                    (void)read_mac(attributes[IFLA_ADDRESS], view.mac);
                                  });
}

io::Status read_addresses(int fd, unsigned index, LinkView& view) {
  io::Status read = ask<ifaddrmsg, IFA_MAX>(
      fd, RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{}, "list addresses",
      [&](const ifaddrmsg& head, const auto& attributes) {
        if (head.ifa_index != index) return;
        const nlattr* const own = attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
        if (const auto address = address_in(own, head.ifa_family))
          view.addresses.push_back({*address, head.ifa_prefixlen});
      });
  const auto is_far_reaching = [](const LinkView::OwnAddress& own) {
    return own.address.family == io::Family::v4 || own.address.bytes[0] != 0xfe ||
           (own.address.bytes[1] & 0xc0) != 0x80;
  };
  std::stable_partition(view.addresses.begin(), view.addresses.end(), is_far_reaching);
  return read;
}

io::Status read_routes(int fd, unsigned index, LinkView& view) {
  io::Status read = io::Success{};
  for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
    rtmsg wanted{};
    wanted.rtm_family = family;
    const auto visit = [&](const rtmsg& head, const auto& attributes) {
      if (head.rtm_family != family || head.rtm_table != RT_TABLE_MAIN || head.rtm_type != RTN_UNICAST ||
          attributes[RTA_OIF] == nullptr || nla_get_u32(attributes[RTA_OIF]) != index)
        return;
      LinkView::Route route;
      route.prefix = address_in(attributes[RTA_DST], family).value_or(io::Address{{}, family_of(family)});
      route.prefix_bits = head.rtm_dst_len;
      route.gateway = address_in(attributes[RTA_GATEWAY], family).value_or(io::Address());
      route.source = address_in(attributes[RTA_PREFSRC], family).value_or(io::Address());
      if (view.routes.size() < kMaxViewedRoutes || route.prefix_bits == 0) view.routes.push_back(route);
    };
    if (io::Status one = ask<rtmsg, RTA_MAX>(fd, RTM_GETROUTE, NLM_F_DUMP, wanted, "list routes", visit); !one)
      read = one;
  }
  std::stable_sort(view.routes.begin(), view.routes.end(),
                   [](const LinkView::Route& a, const LinkView::Route& b) { return a.prefix_bits > b.prefix_bits; });
  return read;
}

io::Status read_neighbours(int fd, unsigned index, LinkView& view) {
  ndmsg wanted{};
  return ask<ndmsg, NDA_MAX>(fd, RTM_GETNEIGH, NLM_F_DUMP, wanted, "list neighbours",
                             [&](const ndmsg& head, const auto& attributes) {
                               if (head.ndm_ifindex != static_cast<int>(index) || (head.ndm_state & kGoodStates) == 0)
                                 return;
                               LinkView::Neighbour neighbour;
                               const auto address = address_in(attributes[NDA_DST], head.ndm_family);
                               if (!address || !read_mac(attributes[NDA_LLADDR], neighbour.mac)) return;
                               neighbour.address = *address;
                               view.neighbours.push_back(neighbour);
                             });
}

}  // namespace

io::Result<LinkView> read_link_view(unsigned interface_index) {
  const io::Result<io::Fd> fd = open_rtnetlink({});
  if (!fd) return fd.error();
  LinkView view;
  for (auto* const read : {read_link, read_addresses, read_routes, read_neighbours})
    if (const io::Status done = read(fd->get(), interface_index, view); !done) return done.error();
  return view;
}

io::Status resolve_neighbour(unsigned interface_index, const io::Address& neighbour) {
  const io::Result<io::Fd> fd = open_rtnetlink({});
  if (!fd) return fd.error();
  ndmsg head{};
  head.ndm_family = neighbour.family == io::Family::v4 ? AF_INET : AF_INET6;
  head.ndm_ifindex = static_cast<int>(interface_index);
  head.ndm_state = NUD_NONE;
  head.ndm_flags = NTF_USE;
  const NetlinkMessage message = make_request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_ACK);
  const int bytes = neighbour.family == io::Family::v4 ? 4 : 16;
  if (message == nullptr || nlmsg_append(message.get(), &head, sizeof head, NLMSG_ALIGNTO) != 0 ||
      nla_put(message.get(), NDA_DST, bytes, neighbour.bytes.data()) != 0)
    return io::Error{ENOMEM, "resolve a neighbour"};
  return request_rtnetlink(fd->get(), message.get(), "resolve a neighbour");
}

}  // namespace culvert::host
