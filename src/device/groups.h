// Groups of peers, and whose the allowed IPs are.
//
// A peer keeps the allowed IPs that it was given, whether it is in a group or not: `get` prints them and the peer takes
// them along. Those of all members together are the group's. Within a group several members may be given the same
// prefix; between two groups, or a group and another peer, the last one takes it, as with WireGuard's peers.
// src/device/GROUPS.md is for users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/device/configurable.h"
#include "src/device/encoding.h"
#include "src/pipeline/peer_group.h"
#include "src/pipeline/shared_state.h"
#include "src/protocol/allowed_ips.h"
#include "src/protocol/messages.h"
#include "src/protocol/time.h"

namespace culvert::device {

// Thread safety: none; the control thread alone. Workers see copies of allowed_ips(), which name PeerGroup objects.
//
// Invariant: a prefix that a member was given belongs to its group in allowed_ips(), and to no peer.
class Groups {
 public:
  // What the device says of a member.
  struct State {
    bool alive = true;
    bool has_endpoint = false;
    uint8_t home_slot = 0;

    bool operator==(const State&) const = default;
  };

  // Allowed IPs of any peer, in a group or not. False: the length does not fit the version.
  bool add(pipeline::PeerPath& peer, const Prefix& prefix);
  void remove(pipeline::PeerPath& peer, const Prefix& prefix);
  void remove_all(pipeline::PeerPath& peer);
  void for_each(pipeline::PeerPath& peer, const std::function<void(const Prefix&)>& visit) const;

  // Whether another member fits into the group, which need not exist.
  bool has_room(const std::string& name) const;

  // Makes the peer a member, and of no other group; it takes its allowed IPs along, but for those that other members of
  // its old group were given too. There is room. `seed`: see PeerGroup::Member.
  void join(pipeline::PeerPath& peer, const std::string& name, uint64_t seed, const State& state);
  // Makes it a peer like others. The last one that leaves takes the group along.
  void leave(pipeline::PeerPath& peer);

  // "": none.
  const std::string& name_of(const pipeline::PeerPath& peer) const;
  // Whether the peer is the only one of its group.
  bool is_alone(const pipeline::PeerPath& peer) const { return find(peer)->group->members.size() == 1; }
  // Of the peer's group, itself included; empty without one.
  std::vector<pipeline::PeerPath*> members_with(const pipeline::PeerPath& peer) const;
  // One that no other member has, next to that of the first: neighbouring slots are those of different workers.
  uint8_t home_slot_in(const std::string& name, uint8_t otherwise) const;

  // A member has sent something. True if none had for kTrafficMemory.
  bool note_traffic(const pipeline::PeerPath& peer, protocol::Instant now);
  bool has_traffic(const pipeline::PeerPath& peer, protocol::Instant now) const;

  // True if it is another one: workers choose accordingly from now on.
  bool set_state(pipeline::PeerPath& peer, const State& state);
  const State& state_of(const pipeline::PeerPath& peer) const { return members_.at(&peer)->state; }

  // The table of slots is another one, or there are more or fewer workers. The latter is seen with the next publish().
  static constexpr protocol::Duration kTrafficMemory = protocol::kKeepaliveTimeout;
  using WorkerOfSlot = std::function<size_t(uint8_t slot)>;
  void set_workers(size_t workers, WorkerOfSlot worker_of_slot);

  // Ours, to be copied for the workers after publish().
  const protocol::AllowedIps& allowed_ips() const { return allowed_ips_; }
  // Whether they have changed since the last publish().
  bool changed() const { return changed_; }
  // Makes allowed_ips() name groups as they are now. What workers may still reach by older copies is `retired`.
  void publish(std::vector<std::unique_ptr<const pipeline::PeerGroup>>& retired);

  // For metrics: every group with the members in order.
  void for_each_group(
      const std::function<void(const std::string& name, const std::vector<pipeline::PeerPath*>&)>& visit) const;
  size_t size() const { return groups_.size(); }

 private:
  struct Group;
  struct Member {
    pipeline::PeerPath* path;
    uint64_t seed;
    State state;
    Group* group;
    protocol::AllowedIps given;  // with `path` as the one handle
  };
  struct Group {
    std::string name;
    std::vector<Member*> members{};                    // at least one
    std::unique_ptr<pipeline::PeerGroup> published{};  // the handle in allowed_ips_; of older members while `changed`
    bool changed = true;
    std::optional<protocol::Instant> last_traffic{};
  };

  Member* find(const pipeline::PeerPath& peer) const;
  void take_from_others(const Prefix& prefix, protocol::PeerHandle owner);
  bool another_has(const Member& member, const Prefix& prefix) const;
  void show_candidates(const Group& group) const;
  std::unique_ptr<pipeline::PeerGroup> make_published(const Group& group) const;

  protocol::AllowedIps allowed_ips_;
  bool changed_ = true;
  std::map<std::string, std::unique_ptr<Group>> groups_;
  std::unordered_map<const pipeline::PeerPath*, std::unique_ptr<Member>> members_;
  std::unordered_map<protocol::PeerHandle, Group*> by_handle_;
  std::vector<std::unique_ptr<const pipeline::PeerGroup>> retired_;  // since the last publish()
  size_t workers_ = 1;
  WorkerOfSlot worker_of_slot_;
};

}  // namespace culvert::device
