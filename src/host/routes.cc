#include "src/host/routes.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "src/host/netlink.h"

namespace culvert::host {
namespace {

using protocol::IpVersion;

constexpr uint32_t kMainTable = RT_TABLE_MAIN;
using Attributes = std::array<nlattr*, RTA_MAX + 1>;

uint8_t family_of(IpVersion version) {
  return version == IpVersion::v4 ? AF_INET : AF_INET6;
}

uint8_t short_table(uint32_t table) {
  return static_cast<uint8_t>(table <= UINT8_MAX ? table : static_cast<uint32_t>(RT_TABLE_UNSPEC));
}

// Sends what `fill` makes of a request with `fixed` as its head, on a socket of its own.
template <typename Fixed, typename Fill>
io::Status request(int type, int flags, const Fixed& fixed, const std::string& action, Fill&& fill,
                   const std::function<void(nlmsghdr&)>& on_reply = {}) {
  io::Result<io::Fd> fd = open_rtnetlink({});
  if (!fd) return fd.error();
  // Dumps come filtered (Linux 4.20); whoever reads them looks at each message all the same.
  const int on = 1;
  ::setsockopt(fd->get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  const NetlinkMessage message = make_request(type, flags);
  if (message == nullptr || nlmsg_append(message.get(), const_cast<Fixed*>(&fixed), sizeof fixed, NLMSG_ALIGNTO) != 0)
    return io::Error{ENOMEM, action};
  fill(message.get());  // there is a page of room
  return request_rtnetlink(fd->get(), message.get(), action, on_reply);
}

// Calls `visit` with each route of a table, its head and attributes; it ends early once that says false.
void for_each_route(uint8_t family, uint32_t table, const std::function<void(const rtmsg&, const Attributes&)>& visit) {
  rtmsg head{};
  head.rtm_family = family;
  head.rtm_table = short_table(table);
  (void)request(
      RTM_GETROUTE, NLM_F_DUMP, head, "list routes", [&](nl_msg* message) { nla_put_u32(message, RTA_TABLE, table); },
      [&](nlmsghdr& reply) {
        Attributes attributes{};
        if (reply.nlmsg_type != RTM_NEWROUTE ||
            nlmsg_parse(&reply, sizeof(rtmsg), attributes.data(), RTA_MAX, nullptr) != 0)
          return;
        const auto& route = *static_cast<const rtmsg*>(nlmsg_data(&reply));
        const nlattr* const wide = attributes[RTA_TABLE];
        const uint32_t in = wide != nullptr && nla_len(wide) >= 4 ? nla_get_u32(wide) : route.rtm_table;
        if (in == table && (route.rtm_flags & RTM_F_CLONED) == 0) visit(route, attributes);
      });
}

uint32_t link_mtu(int index) {
  ifinfomsg head{};
  head.ifi_index = index;
  uint32_t mtu = 0;
  (void)request(
      RTM_GETLINK, 0, head, "ask for a link", [](nl_msg*) {},
      [&](nlmsghdr& reply) {
        const nlattr* const found =
            reply.nlmsg_type == RTM_NEWLINK ? nlmsg_find_attr(&reply, sizeof(ifinfomsg), IFLA_MTU) : nullptr;
        if (found != nullptr && nla_len(found) >= 4) mtu = nla_get_u32(found);
      });
  return mtu;
}

// The route's own, else its device's.
uint32_t mtu_of(const Attributes& attributes) {
  nlattr* const metrics = attributes[RTA_METRICS];
  const nlattr* const own =
      metrics != nullptr ? nla_find(static_cast<nlattr*>(nla_data(metrics)), nla_len(metrics), RTAX_MTU) : nullptr;
  if (own != nullptr && nla_len(own) >= 4 && nla_get_u32(own) != 0) return nla_get_u32(own);
  const nlattr* const out = attributes[RTA_OIF];
  return out != nullptr && nla_len(out) >= 4 ? link_mtu(static_cast<int>(nla_get_u32(out))) : 0;
}

enum class RuleKind : uint8_t { mark, suppress };

fib_rule_hdr rule_head(IpVersion version, RuleKind kind, uint32_t table) {
  fib_rule_hdr head{};
  head.family = family_of(version);
  head.action = FR_ACT_TO_TBL;
  head.table = short_table(table);
  if (kind == RuleKind::mark) head.flags = FIB_RULE_INVERT;
  return head;
}

void fill_rule(nl_msg* message, RuleKind kind, uint32_t table) {
  nla_put_u32(message, FRA_TABLE, table);
  if (kind == RuleKind::mark)
    nla_put_u32(message, FRA_FWMARK, table);
  else
    nla_put_u32(message, FRA_SUPPRESS_PREFIXLEN, 0);
}

using RuleAttributes = std::array<nlattr*, FRA_MAX + 1>;

std::optional<uint32_t> number_in(const RuleAttributes& attributes, int type) {
  const nlattr* const value = attributes[static_cast<size_t>(type)];
  return value != nullptr && nla_len(value) >= 4 ? std::optional(nla_get_u32(value)) : std::nullopt;
}

void for_each_rule(IpVersion version, const std::function<void(const fib_rule_hdr&, const RuleAttributes&)>& visit) {
  fib_rule_hdr head{};
  head.family = family_of(version);
  (void)request(
      RTM_GETRULE, NLM_F_DUMP, head, "list rules", [](nl_msg*) {},
      [&](nlmsghdr& reply) {
        RuleAttributes attributes{};
        if (reply.nlmsg_type == RTM_NEWRULE &&
            nlmsg_parse(&reply, sizeof(fib_rule_hdr), attributes.data(), FRA_MAX, nullptr) == 0)
          visit(*static_cast<const fib_rule_hdr*>(nlmsg_data(&reply)), attributes);
      });
}

bool has_mark_rule(IpVersion version, uint32_t mark) {
  bool found = false;
  for_each_rule(version, [&](const fib_rule_hdr& rule, const RuleAttributes& attributes) {
    found |= (rule.flags & FIB_RULE_INVERT) != 0 && number_in(attributes, FRA_TABLE) == mark &&
             number_in(attributes, FRA_FWMARK) == mark;
  });
  return found;
}

// The priority of the last of those rules: the first one is before the mark rules of all tunnels.
std::optional<uint32_t> last_suppress_rule(IpVersion version) {
  std::optional<uint32_t> last;
  for_each_rule(version, [&](const fib_rule_hdr& rule, const RuleAttributes& attributes) {
    if (rule.flags == 0 && rule.src_len == 0 && rule.dst_len == 0 && number_in(attributes, FRA_TABLE) == kMainTable &&
        number_in(attributes, FRA_SUPPRESS_PREFIXLEN) == 0U)
      last = std::max(last, number_in(attributes, FRA_PRIORITY));
  });
  return last;
}

io::Status change_rule(Change change, IpVersion version, RuleKind kind, uint32_t table, const std::string& action) {
  const bool add = change == Change::add;
  const auto priority = !add && kind == RuleKind::suppress ? last_suppress_rule(version) : std::nullopt;
  return request(add ? RTM_NEWRULE : RTM_DELRULE, add ? NLM_F_CREATE | NLM_F_EXCL : 0, rule_head(version, kind, table),
                 action, [&](nl_msg* message) {
                   fill_rule(message, kind, table);
                   if (priority) nla_put_u32(message, FRA_PRIORITY, *priority);
                 });
}

// What is gone is as good as removed.
io::Status forgive_missing(Change change, io::Status status) {
  if (!status && change == Change::remove)
    for (const int missing : {ESRCH, ENOENT, ENODEV, EAFNOSUPPORT})
      if (status.error().number == missing) return io::Success{};
  return status;
}

}  // namespace

io::Status change_route(Change change, const std::string& interface_name, const device::Prefix& prefix,
                        uint32_t table) {
  const bool add = change == Change::add;
  const bool v4 = prefix.version == IpVersion::v4;
  const std::string action = std::string(add ? "add" : "remove") + " the route " + device::to_string(prefix) +
                             " through " + interface_name +
                             (table == kMainTable ? "" : " in table " + std::to_string(table));
  const unsigned index = ::if_nametoindex(interface_name.c_str());
  if (index == 0) return forgive_missing(change, io::Error{ENODEV, action});
  rtmsg head{};
  head.rtm_family = family_of(prefix.version);
  head.rtm_dst_len = prefix.cidr;
  head.rtm_table = short_table(table);
  head.rtm_protocol = RTPROT_BOOT;
  head.rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  head.rtm_type = RTN_UNICAST;
  return forgive_missing(change, request(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_EXCL : 0, head,
                                         action, [&](nl_msg* message) {
                                           if (prefix.cidr > 0)
                                             nla_put(message, RTA_DST, v4 ? 4 : 16, prefix.address.data());
                                           nla_put_u32(message, RTA_OIF, index);
                                           nla_put_u32(message, RTA_TABLE, table);
                                         }));
}

io::Status change_mark_rule(Change change, IpVersion version, uint32_t mark) {
  if (change == Change::add && has_mark_rule(version, mark)) return io::Success{};
  return forgive_missing(change, change_rule(change, version, RuleKind::mark, mark,
                                             (change == Change::add ? "add" : "remove") +
                                                 std::string(" the rule for all but mark ") + std::to_string(mark)));
}

io::Status change_suppress_rule(Change change, IpVersion version) {
  return forgive_missing(change, change_rule(change, version, RuleKind::suppress, kMainTable,
                                             (change == Change::add ? "add" : "remove") +
                                                 std::string(" the rule that passes over main's default routes")));
}

bool is_empty_table(uint32_t table) {
  bool empty = true;
  for (const uint8_t family : {AF_INET, AF_INET6})
    for_each_route(family, table, [&](const rtmsg&, const Attributes&) { empty = false; });
  return empty;
}

std::vector<std::string> interfaces_of_routers(const std::vector<std::string>& candidates) {
  std::vector<std::string> names;
  for_each_route(AF_INET6, kMainTable, [&](const rtmsg& route, const Attributes& attributes) {
    const nlattr* const out = attributes[RTA_OIF];
    char name[IF_NAMESIZE];
    if (route.rtm_dst_len == 0 && route.rtm_protocol == RTPROT_RA && out != nullptr && nla_len(out) >= 4 &&
        ::if_indextoname(nla_get_u32(out), name) != nullptr)
      names.emplace_back(name);
  });
  names.insert(names.end(), candidates.begin(), candidates.end());
  std::vector<std::string> kept;
  for (const std::string& name : names) {
    int accepts = 0;
    if (std::ifstream("/proc/sys/net/ipv6/conf/" + name + "/accept_ra") >> accepts && accepts == 1 &&
        std::find(kept.begin(), kept.end(), name) == kept.end())
      kept.push_back(name);
  }
  return kept;
}

uint32_t path_mtu(const io::Address& remote) {
  const bool v4 = remote.family == io::Family::v4;
  rtmsg head{};
  head.rtm_family = v4 ? AF_INET : AF_INET6;
  head.rtm_dst_len = v4 ? 32 : 128;
  uint32_t mtu = 0;
  (void)request(
      RTM_GETROUTE, 0, head, "ask for a route",
      [&](nl_msg* message) { nla_put(message, RTA_DST, v4 ? 4 : 16, remote.bytes.data()); },
      [&](nlmsghdr& reply) {
        Attributes attributes{};
        if (reply.nlmsg_type == RTM_NEWROUTE &&
            nlmsg_parse(&reply, sizeof(rtmsg), attributes.data(), RTA_MAX, nullptr) == 0)
          mtu = mtu_of(attributes);
      });
  return mtu;
}

uint32_t default_route_mtu() {
  uint32_t mtu = 0;
  for_each_route(AF_INET, kMainTable, [&](const rtmsg& route, const Attributes& attributes) {
    if (route.rtm_dst_len == 0 && mtu == 0) mtu = mtu_of(attributes);
  });
  return mtu;
}

}  // namespace culvert::host
