#include "src/device/groups.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace culvert::device {
namespace {

using pipeline::PeerGroup;
using pipeline::PeerPath;

static_assert(kMaxGroupMembers == PeerGroup::kMaxMembers);

// The bits of the members that a worker's flows go to: those alive whose answers come to it, else those alive, else
// those that can be called at all, else everybody.
class Candidates {
 public:
  explicit Candidates(size_t workers) : at_home_(workers) {}

  void add(size_t member, const Groups::State& state, size_t home_worker) {
    const uint64_t bit = uint64_t{1} << member;
    everybody_ |= bit;
    if (!state.has_endpoint) return;
    callable_ |= bit;
    if (!state.alive) return;
    alive_ |= bit;
    at_home_[home_worker % at_home_.size()] |= bit;
  }

  uint64_t of_worker(size_t worker) const {
    for (const uint64_t members : {at_home_[worker], alive_, callable_})
      if (members != 0) return members;
    return everybody_;
  }

 private:
  std::vector<uint64_t> at_home_;
  uint64_t alive_ = 0, callable_ = 0, everybody_ = 0;
};

}  // namespace

Groups::Member* Groups::find(const PeerPath& peer) const {
  const auto found = members_.find(&peer);
  return found == members_.end() ? nullptr : found->second.get();
}

bool Groups::add(PeerPath& peer, const Prefix& prefix) {
  if (!protocol::is_valid(prefix)) return false;
  Member* const member = find(peer);
  const protocol::PeerHandle owner = member != nullptr ? member->group->published.get() : protocol::PeerHandle{&peer};
  take_from_others(prefix, owner);
  changed_ = true;
  if (member != nullptr) (void)member->given.insert(prefix, &peer);
  return allowed_ips_.insert(prefix, owner);
}

// If a group other than `owner` has the prefix, no member of it keeps it.
void Groups::take_from_others(const Prefix& prefix, protocol::PeerHandle owner) {
  const protocol::PeerHandle before = allowed_ips_.owner_of(prefix);
  if (before == owner || before == nullptr) return;
  const auto group = by_handle_.find(before);
  if (group == by_handle_.end()) return;
  for (Member* const member : group->second->members) (void)member->given.remove(prefix, member->path);
}

bool Groups::another_has(const Member& member, const Prefix& prefix) const {
  return std::any_of(
      member.group->members.begin(), member.group->members.end(),
      [&](const Member* other) { return other != &member && other->given.owner_of(prefix) != nullptr; });
}

void Groups::remove(PeerPath& peer, const Prefix& prefix) {
  Member* const member = find(peer);
  if (member == nullptr) {
    changed_ |= allowed_ips_.remove(prefix, &peer);
  } else if (member->given.remove(prefix, &peer) && !another_has(*member, prefix)) {
    (void)allowed_ips_.remove(prefix, member->group->published.get());
    changed_ = true;
  }
}

void Groups::remove_all(PeerPath& peer) {
  changed_ = true;
  Member* const member = find(peer);
  if (member == nullptr) return allowed_ips_.remove_all(&peer);
  const protocol::AllowedIps given = std::exchange(member->given, {});
  given.for_each(&peer, [&](const Prefix& prefix) {
    if (!another_has(*member, prefix)) (void)allowed_ips_.remove(prefix, member->group->published.get());
  });
}

void Groups::for_each(PeerPath& peer, const std::function<void(const Prefix&)>& visit) const {
  const Member* const member = find(peer);
  (member != nullptr ? member->given : allowed_ips_).for_each(&peer, visit);
}

bool Groups::has_room(const std::string& name) const {
  const auto found = groups_.find(name);
  return found == groups_.end() || found->second->members.size() < kMaxGroupMembers;
}

void Groups::join(PeerPath& peer, const std::string& name, uint64_t seed, const State& state) {
  assert(has_room(name));
  leave(peer);
  protocol::AllowedIps before;  // that the peer brings
  allowed_ips_.for_each(&peer, [&](const Prefix& prefix) { (void)before.insert(prefix, &peer); });
  allowed_ips_.remove_all(&peer);

  std::unique_ptr<Group>& group = groups_[name];
  if (group == nullptr) group = std::make_unique<Group>(Group{.name = name});
  auto member = std::make_unique<Member>(Member{&peer, seed, state, group.get(), std::move(before)});
  group->members.push_back(member.get());
  group->changed = changed_ = true;
  if (group->published == nullptr) {
    group->published = make_published(*group);
    by_handle_[group->published.get()] = group.get();
  }
  member->given.for_each(&peer,
                         [&](const Prefix& prefix) { (void)allowed_ips_.insert(prefix, group->published.get()); });
  members_[&peer] = std::move(member);
}

void Groups::leave(PeerPath& peer) {
  const auto found = members_.find(&peer);
  if (found == members_.end()) return;
  const std::unique_ptr<Member> member = std::move(found->second);
  Group& group = *member->group;
  member->given.for_each(&peer, [&](const Prefix& prefix) {
    if (!another_has(*member, prefix)) (void)allowed_ips_.insert(prefix, &peer);
  });
  members_.erase(found);
  std::erase(group.members, member.get());
  group.changed = changed_ = true;
  if (!group.members.empty()) return;
  by_handle_.erase(group.published.get());
  allowed_ips_.remove_all(group.published.get());
  retired_.push_back(std::move(group.published));
  groups_.erase(groups_.find(group.name));
}

const std::string& Groups::name_of(const PeerPath& peer) const {
  static const std::string kNone;
  const Member* const member = find(peer);
  return member != nullptr ? member->group->name : kNone;
}

std::vector<PeerPath*> Groups::members_with(const PeerPath& peer) const {
  std::vector<PeerPath*> paths;
  if (const Member* const member = find(peer))
    for (const Member* const other : member->group->members) paths.push_back(other->path);
  return paths;
}

uint8_t Groups::home_slot_in(const std::string& name, uint8_t otherwise) const {
  const auto found = groups_.find(name);
  if (found == groups_.end()) return otherwise;
  const std::vector<Member*>& members = found->second->members;
  uint8_t slot = members.front()->state.home_slot;
  const auto taken = [&](const Member* member) { return member->state.home_slot == slot; };
  while (std::any_of(members.begin(), members.end(), taken))
    slot = static_cast<uint8_t>((slot + 1) % protocol::kHomeSlots);
  return slot;
}

bool Groups::note_traffic(const PeerPath& peer, protocol::Instant now) {
  std::optional<protocol::Instant>& last = find(peer)->group->last_traffic;
  const bool was_idle = !last || now - *last > kTrafficMemory;
  last = now;
  return was_idle;
}

bool Groups::has_traffic(const PeerPath& peer, protocol::Instant now) const {
  const std::optional<protocol::Instant>& last = find(peer)->group->last_traffic;
  return last && now - *last <= kTrafficMemory;
}

bool Groups::set_state(PeerPath& peer, const State& state) {
  Member* const member = find(peer);
  if (member == nullptr || member->state == state) return false;
  member->state = state;
  // The published one has its members in another order: it is about to be replaced.
  if (!member->group->changed) show_candidates(*member->group);
  return true;
}

void Groups::set_workers(size_t workers, WorkerOfSlot worker_of_slot) {
  const size_t before = std::exchange(workers_, std::max<size_t>(workers, 1));
  const bool other_number = before != workers_;
  worker_of_slot_ = std::move(worker_of_slot);
  for (const auto& [name, group] : groups_) {
    group->changed |= other_number;
    if (!group->changed) show_candidates(*group);
  }
  changed_ |= other_number && !groups_.empty();
}

void Groups::show_candidates(const Group& group) const {
  Candidates candidates(group.published->workers());
  for (size_t i = 0; i < group.members.size(); ++i) {
    const State& state = group.members[i]->state;
    candidates.add(i, state, worker_of_slot_ ? worker_of_slot_(state.home_slot) : 0);
  }
  for (size_t worker = 0; worker < group.published->workers(); ++worker)
    group.published->set_candidates(worker, candidates.of_worker(worker));
}

std::unique_ptr<PeerGroup> Groups::make_published(const Group& group) const {
  std::vector<PeerGroup::Member> members;
  members.reserve(group.members.size());
  for (const Member* const member : group.members) members.push_back({member->path, member->seed});
  return std::make_unique<PeerGroup>(members, workers_);
}

void Groups::publish(std::vector<std::unique_ptr<const PeerGroup>>& retired) {
  for (const auto& [name, group] : groups_) {
    if (!std::exchange(group->changed, false)) continue;
    std::unique_ptr<PeerGroup> fresh = make_published(*group);
    allowed_ips_.hand_over(group->published.get(), fresh.get());
    by_handle_.erase(group->published.get());
    by_handle_[fresh.get()] = group.get();
    retired_.push_back(std::exchange(group->published, std::move(fresh)));
    show_candidates(*group);
  }
  for (std::unique_ptr<const PeerGroup>& one : retired_) retired.push_back(std::move(one));
  retired_.clear();
  changed_ = false;
}

void Groups::for_each_group(
    const std::function<void(const std::string& name, const std::vector<PeerPath*>&)>& visit) const {
  for (const auto& [name, group] : groups_) {
    std::vector<PeerPath*> paths;
    paths.reserve(group->members.size());
    for (const Member* const member : group->members) paths.push_back(member->path);
    visit(name, paths);
  }
}

}  // namespace culvert::device
