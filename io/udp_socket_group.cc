#include "io/udp_socket_group.h"

#include <cassert>
#include <utility>

namespace culvert::io {

Result<std::unique_ptr<UdpSocketGroup>> UdpSocketGroup::open(const UdpOptions& options, size_t members,
                                                             SocketSteering* steering, const Syscalls& syscalls,
                                                             const UdpSocketGroup* before) {
  assert(members > 0 && (before == nullptr || before->size() == members));
  std::unique_ptr<UdpSocketGroup> group(new UdpSocketGroup(options, steering));
  const auto member_before = [&](size_t i) { return before != nullptr ? before->members_[i].get() : nullptr; };
  auto first = UdpSockets::open(options, syscalls,
                                {.before = member_before(0), .steering = steering, .planned_members = members});
  if (!first) return first.error();
  group->members_.push_back(std::move(*first));
  for (size_t i = 1; i < members; ++i)
    if (Status joined = group->join(member_before(i)); !joined) return joined.error();
  if (Status placed = group->place_all(members); !placed) return placed.error();
  return group;
}

Status UdpSocketGroup::add_member() {
  if (Status joined = join(nullptr); !joined) return joined;
  Status placed = place_all(size());
  if (!placed) remove_last_member();
  return placed;
}

Status UdpSocketGroup::join(const UdpSockets* before) {
  if (members_.size() == 1)
    if (Status shared = members_[0]->share(); !shared) return shared;
  auto joined = UdpSockets::join(options_, *members_[0], before);
  if (!joined) return joined.error();
  members_.push_back(std::move(*joined));
  return Success{};
}

void UdpSocketGroup::remove_last_member() {
  assert(size() > 1);
  (void)place_all(size() - 1);  // the kernel forgets closed sockets by itself, too
  members_.pop_back();
}

// Tells the steering of the sockets of the first `members` members.
Status UdpSocketGroup::place_all(size_t members) {
  if (steering_ == nullptr) return Success{};
  std::vector<int> sockets(members);
  for (size_t port = 0; port < ports().size(); ++port) {
    for (const Family family : {Family::v4, Family::v6}) {
      for (size_t i = 0; i < members; ++i) sockets[i] = members_[i]->fd(family, port);
      if (sockets[0] < 0) continue;
      if (Status placed = steering_->place(family, ports()[port], sockets); !placed) return placed;
    }
  }
  return Success{};
}

uint64_t UdpSocketGroup::datagrams_sent(size_t port_index) const {
  uint64_t sum = 0;
  for (const auto& member : members_) sum += member->datagrams_sent(port_index).get();
  return sum;
}

Status UdpSocketGroup::set_fwmark(uint32_t fwmark) {
  for (const auto& member : members_)
    if (Status set = member->set_fwmark(fwmark); !set) return set;
  options_.fwmark = fwmark;
  return Success{};
}

}  // namespace culvert::io
