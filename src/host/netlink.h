// rtnetlink sockets and requests, with libnl building and reading the messages.
#pragma once

#include <netlink/msg.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::host {

struct FreeMessage {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
// Null only when memory ran out.
using NetlinkMessage = std::unique_ptr<nl_msg, FreeMessage>;
NetlinkMessage make_request(int type, int flags);

// A non-blocking NETLINK_ROUTE socket in the caller's network namespace, subscribed to `groups`
// (RTNLGRP_...).
io::Result<io::Fd> open_rtnetlink(std::span<const int> groups);

// Calls `visit` for each message of a datagram. Bytes that are no whole message end it.
void for_each_message(std::span<uint8_t> datagram, const std::function<void(nlmsghdr&)>& visit);

// Sends `request` on a socket without groups, calls `on_reply` for each message of the answer and yields its
// verdict; `action` is for the error. The kernel answers rtnetlink within the send, so this never waits.
io::Status request_rtnetlink(int fd, nl_msg* request, const std::string& action,
                             const std::function<void(nlmsghdr&)>& on_reply = {});

}  // namespace culvert::host
