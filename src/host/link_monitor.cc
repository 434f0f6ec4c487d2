#include "src/host/link_monitor.h"

#include <linux/if_tun.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "io/fd.h"
#include "io/poller.h"
#include "src/host/netlink.h"
#include "src/host/netns_id.h"

namespace culvert::host {
namespace {

constexpr int32_t kOwnNamespace = NETNSA_NSID_NOT_ASSIGNED;
constexpr uint64_t kEventsTag = 0;
constexpr uint64_t kTimerTag = 1;
constexpr size_t kDatagramBytes = 65536;
constexpr int kFollowAttempts = 8;

// What one RTM_NEWLINK or RTM_DELLINK says of a link.
struct LinkMessage {
  int index = 0;
  bool up = false;
  uint32_t mtu_bytes = 0;
  std::string name;
};

std::optional<LinkMessage> read_link_message(nlmsghdr& header) {
  std::array<nlattr*, IFLA_MAX + 1> attributes{};
  if (nlmsg_parse(&header, sizeof(ifinfomsg), attributes.data(), IFLA_MAX, nullptr) != 0) return std::nullopt;
  const auto* fixed = static_cast<const ifinfomsg*>(nlmsg_data(&header));
  LinkMessage link;
  link.index = fixed->ifi_index;
  link.up = (fixed->ifi_flags & IFF_UP) != 0;
  if (const nlattr* mtu = attributes[IFLA_MTU]; mtu != nullptr && nla_len(mtu) >= 4) link.mtu_bytes = nla_get_u32(mtu);
  if (const nlattr* name = attributes[IFLA_IFNAME]; name != nullptr && nla_len(name) > 0)
    link.name.assign(nla_get_string(name), ::strnlen(nla_get_string(name), static_cast<size_t>(nla_len(name))));
  return link;
}

// EBADFD when the device was deleted.
io::Result<std::string> tun_name(int tun_fd) {
  ifreq request{};
  if (::ioctl(tun_fd, TUNGETIFF, &request) != 0) return io::Error{errno, "ask the TUN descriptor for its interface"};
  return std::string(request.ifr_name, ::strnlen(request.ifr_name, sizeof request.ifr_name));
}

// The id of the namespace that sent a datagram, as NETLINK_LISTEN_ALL_NSID attaches it; none for our own.
int32_t sender_of(msghdr& message) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level == SOL_NETLINK && control->cmsg_type == NETLINK_LISTEN_ALL_NSID) {
      int32_t id = kOwnNamespace;
      std::memcpy(&id, CMSG_DATA(control), sizeof id);
      return id;
    }
  }
  return kOwnNamespace;
}

}  // namespace

struct LinkMonitor::Impl {
  Impl(io::Poller poller_in, io::Fd events_in, io::Fd requests_in, int tun_fd_in)
      : poller(std::move(poller_in)),
        events_socket(std::move(events_in)),
        requests_socket(std::move(requests_in)),
        tun_fd(tun_fd_in) {}

  io::Poller poller;
  io::Fd events_socket;    // with groups
  io::Fd requests_socket;  // without
  io::Fd timer;            // while polling
  int tun_fd;
  int32_t namespace_id = kOwnNamespace;
  int index = 0;  // in that namespace
  LinkState state;
  std::vector<LinkEvent> events;
  std::vector<uint8_t> datagram = std::vector<uint8_t>(kDatagramBytes);

  void follow();
  io::Status enter_namespace();
  io::Result<LinkMessage> find_link(const std::string& name);
  void refresh();
  void adopt(const LinkMessage& link);
  void report_gone();

  void read_datagrams();
  void take_message(nlmsghdr& header, int32_t sender);

  void start_polling();
  void poll_device();
};

// Finds the interface where it now lives, and its state. Two moves in a row may make that take two attempts.
void LinkMonitor::Impl::follow() {
  for (int attempt = 0; attempt < kFollowAttempts; ++attempt) {
    const io::Result<std::string> name = tun_name(tun_fd);
    if (!name) {
      report_gone();
      return;
    }
    if (!enter_namespace()) break;
    if (const io::Result<LinkMessage> link = find_link(*name); link) {
      index = (*link).index;
      adopt(*link);
      return;
    }
  }
  start_polling();
}

io::Status LinkMonitor::Impl::enter_namespace() {
  io::Result<io::Fd> home = open_tun_namespace(tun_fd);
  if (!home) {
    // Before Linux 5.2, or without the right to ask: it is ours as long as the name says so.
    if (namespace_id == kOwnNamespace && index == 0) return io::Success{};
    return home.error();
  }
  if (is_own_namespace(home->get())) {
    namespace_id = kOwnNamespace;
    return io::Success{};
  }
  const int on = 1;
  if (::setsockopt(events_socket.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on) != 0)
    return io::Error{errno, "listen to other network namespaces"};
  const io::Result<int32_t> id = netns_id(requests_socket.get(), home->get());
  if (!id) return id.error();
  namespace_id = *id;
  return io::Success{};
}

io::Result<LinkMessage> LinkMonitor::Impl::find_link(const std::string& name) {
  const ifinfomsg any{};
  const NetlinkMessage request = make_request(RTM_GETLINK, 0);
  const std::string action = "find interface " + name;
  if (request == nullptr || nlmsg_append(request.get(), const_cast<ifinfomsg*>(&any), sizeof any, NLMSG_ALIGNTO) != 0 ||
      nla_put_string(request.get(), IFLA_IFNAME, name.c_str()) != 0 ||
      (namespace_id != kOwnNamespace && nla_put_s32(request.get(), IFLA_TARGET_NETNSID, namespace_id) != 0))
    return io::Error{ENOMEM, action};
  std::optional<LinkMessage> found;
  const io::Status status =
      request_rtnetlink(requests_socket.get(), request.get(), action, [&found](nlmsghdr& message) {
        if (message.nlmsg_type == RTM_NEWLINK) found = read_link_message(message);
      });
  if (!status) return status.error();
  if (!found) return io::Error{ENODEV, action};
  return *found;
}

// Messages were lost: asks for what they would have said.
void LinkMonitor::Impl::refresh() {
  if (const io::Result<LinkMessage> link = find_link(state.name); link && (*link).index == index)
    adopt(*link);
  else
    follow();
}

void LinkMonitor::Impl::adopt(const LinkMessage& link) {
  if (!link.name.empty() && link.name != state.name) {
    state.name = link.name;
    events.push_back(LinkEvent::moved);
  }
  if (link.mtu_bytes != 0 && link.mtu_bytes != state.mtu_bytes) {
    state.mtu_bytes = link.mtu_bytes;
    events.push_back(LinkEvent::mtu);
  }
  if (link.up != state.up) {
    state.up = link.up;
    events.push_back(link.up ? LinkEvent::up : LinkEvent::down);
  }
}

void LinkMonitor::Impl::report_gone() {
  if (!state.gone) {
    state.gone = true;
    state.up = false;
    events.push_back(LinkEvent::gone);
  }
}

void LinkMonitor::Impl::read_datagrams() {
  bool lost_messages = false;
  for (;;) {
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int32_t)) * 2];
    iovec part{datagram.data(), datagram.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t count = ::recvmsg(events_socket.get(), &message, MSG_DONTWAIT);
    if (count < 0 && errno == ENOBUFS) {
      lost_messages = true;  // the newest ones: what is in the queue is older
      continue;
    }
    if (count < 0 && errno != EINTR) break;
    if (count > 0) {
      const int32_t sender = sender_of(message);
      for_each_message(std::span(datagram).first(static_cast<size_t>(count)),
                       [this, sender](nlmsghdr& header) { take_message(header, sender); });
    }
  }
  if (lost_messages && !state.gone && !timer) refresh();
}

void LinkMonitor::Impl::take_message(nlmsghdr& header, int32_t sender) {
  if (state.gone || timer) return;
  if (header.nlmsg_type == RTM_DELNSID) {
    const nlattr* id = nlmsg_find_attr(&header, sizeof(rtgenmsg), NETNSA_NSID);
    // The interface's namespace ends, and the interface with it, but not at this very moment.
    if (id != nullptr && nla_len(id) == 4 && namespace_id != kOwnNamespace && nla_get_s32(id) == namespace_id)
      start_polling();
    return;
  }
  if (header.nlmsg_type != RTM_NEWLINK && header.nlmsg_type != RTM_DELLINK) return;
  const std::optional<LinkMessage> link = read_link_message(header);
  const auto* fixed = static_cast<const ifinfomsg*>(nlmsg_data(&header));
  // An RTM_DELLINK of AF_BRIDGE says that a port left its bridge.
  if (!link || link->index != index || sender != namespace_id || fixed->ifi_family != AF_UNSPEC) return;
  if (header.nlmsg_type == RTM_NEWLINK) {
    adopt(*link);
    return;
  }
  events.push_back(LinkEvent::moved);
  follow();
  if (state.gone) {
    // It was deleted and not moved.
    std::erase(events, LinkEvent::moved);
  }
}

void LinkMonitor::Impl::start_polling() {
  timer.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  const itimerspec each_second{{1, 0}, {1, 0}};
  if (!timer || ::timerfd_settime(timer.get(), 0, &each_second, nullptr) != 0 || !poller.add(timer.get(), kTimerTag)) {
    report_gone();  // blind: better to end than to serve a link that may be down or deleted
    return;
  }
  poll_device();
}

// Down is a descriptor that cannot be written to (since Linux 5.2), or an empty write that fails with EIO and not
// EINVAL, as wireguard-go asks (until then: now the missing virtio_net_hdr is found first).
void LinkMonitor::Impl::poll_device() {
  pollfd writable{tun_fd, POLLOUT, 0};
  if (!tun_name(tun_fd) || ::poll(&writable, 1, 0) < 0) {
    report_gone();
    return;
  }
  LinkMessage link;
  link.up = (writable.revents & POLLOUT) != 0 && !(::write(tun_fd, nullptr, 0) < 0 && errno == EIO);
  adopt(link);
}

LinkMonitor::LinkMonitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LinkMonitor::~LinkMonitor() = default;

io::Result<std::unique_ptr<LinkMonitor>> LinkMonitor::open(int tun_fd) {
  constexpr std::array<int, 2> kGroups = {RTNLGRP_LINK, RTNLGRP_NSID};
  io::Result<io::Poller> poller = io::Poller::open();
  if (!poller) return poller.error();
  io::Result<io::Fd> events = open_rtnetlink(kGroups);
  if (!events) return events.error();
  io::Result<io::Fd> requests = open_rtnetlink({});
  if (!requests) return requests.error();
  if (const io::Result<std::string> name = tun_name(tun_fd); !name) return name.error();
  auto impl = std::make_unique<Impl>(std::move(*poller), std::move(*events), std::move(*requests), tun_fd);
  if (io::Status status = impl->poller.add(impl->events_socket.get(), kEventsTag); !status) return status.error();
  impl->follow();
  impl->events.clear();
  return std::unique_ptr<LinkMonitor>(new LinkMonitor(std::move(impl)));
}

int LinkMonitor::fd() const {
  return impl_->poller.fd();
}

std::vector<LinkEvent> LinkMonitor::read_events() {
  impl_->read_datagrams();
  uint64_t expirations = 0;
  if (impl_->timer && ::read(impl_->timer.get(), &expirations, sizeof expirations) > 0) impl_->poll_device();
  if (impl_->state.gone && impl_->timer) impl_->timer.reset();
  return std::exchange(impl_->events, {});
}

const LinkState& LinkMonitor::state() const {
  return impl_->state;
}

LinkMonitor::Watching LinkMonitor::watching() const {
  return impl_->timer ? Watching::polling : Watching::netlink;
}

}  // namespace culvert::host
