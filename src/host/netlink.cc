#include "src/host/netlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <vector>

namespace culvert::host {
namespace {

constexpr size_t kReplyBytes = 65536;

// What a closing message says: 0 or an errno; nothing for any other message.
std::optional<int> verdict_of(nlmsghdr& header) {
  if (header.nlmsg_type == NLMSG_DONE) return 0;
  if (header.nlmsg_type != NLMSG_ERROR || nlmsg_datalen(&header) < static_cast<int>(sizeof(nlmsgerr)))
    return std::nullopt;
  return -static_cast<const nlmsgerr*>(nlmsg_data(&header))->error;
}

}  // namespace

NetlinkMessage make_request(int type, int flags) {
  return NetlinkMessage(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags));
}

io::Result<io::Fd> open_rtnetlink(std::span<const int> groups) {
  io::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return io::Error{errno, "open rtnetlink"};
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return io::Error{errno, "bind rtnetlink"};
  for (const int group : groups)
    if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return io::Error{errno, "join rtnetlink group " + std::to_string(group)};
  return fd;
}

void for_each_message(std::span<uint8_t> datagram, const std::function<void(nlmsghdr&)>& visit) {
  int remaining = static_cast<int>(datagram.size());
  for (auto* header = reinterpret_cast<nlmsghdr*>(datagram.data()); nlmsg_ok(header, remaining) != 0;
       header = nlmsg_next(header, &remaining))
    visit(*header);
}

io::Status request_rtnetlink(int fd, nl_msg* request, const std::string& action,
                             const std::function<void(nlmsghdr&)>& on_reply) {
  if (request == nullptr) return io::Error{ENOMEM, action};
  nlmsghdr* header = nlmsg_hdr(request);
  header->nlmsg_flags |= NLM_F_ACK;
  if (::send(fd, header, header->nlmsg_len, 0) < 0) return io::Error{errno, action};
  std::vector<uint8_t> reply(kReplyBytes);
  std::optional<int> verdict;
  while (!verdict) {
    const ssize_t count = ::recv(fd, reply.data(), reply.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return io::Error{count < 0 ? errno : EPROTO, action + ": no answer from the kernel"};
    for_each_message(std::span(reply).first(static_cast<size_t>(count)), [&](nlmsghdr& message) {
      const std::optional<int> closing = verdict_of(message);
      if (closing)
        verdict = closing;
      else if (on_reply)
        on_reply(message);
    });
  }
  if (*verdict != 0) return io::Error{*verdict, action};
  return io::Success{};
}

}  // namespace culvert::host
