// A group of tunnels: peers that share their allowed IPs, and each flow has one of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/packet/flow_hash.h"
#include "src/pipeline/shared_state.h"

namespace culvert::pipeline {

// Rendezvous hashing: a flow goes to the member that draws the highest number for it. When a member drops out, its own
// flows go to the others, and they come back with it; no other flow moves (Thaler and Ravishankar, "Using name-based
// mappings to increase hit rates", IEEE/ACM ToN 1998). Each worker has candidates of its own, so that the members whose
// answers come to it can be the ones that it sends with: then no two workers write one send counter.
//
// Thread safety: set_candidates() is the control thread's; the rest is for any thread.
//
// Invariants: 1. the members never change: a group with others is another object, published with the allowed IPs that
// name it, and freed with them; 2. there are 1 to kMaxMembers of them, and one candidate at least.
class PeerGroup final : public Route {
 public:
  static constexpr size_t kMaxMembers = 64;  // the bits of a word

  struct Member {
    PeerPath* path;
    uint64_t seed;  // belongs to the peer for its life: on it depends which flows are its
  };

  // For that many workers; everybody is a candidate.
  explicit PeerGroup(std::span<const Member> members, size_t workers = 1)
      : Route(true),
        members_(members.begin(), members.end()),
        workers_(std::max<size_t>(workers, 1)),
        candidates_(std::make_unique<std::atomic<uint64_t>[]>(workers_)) {
    assert(!members.empty() && members.size() <= kMaxMembers);
    for (size_t worker = 0; worker < workers_; ++worker) set_candidates(worker, everybody(members.size()));
  }

  // A bit for each of that many members.
  static constexpr uint64_t everybody(size_t members) {
    return members >= kMaxMembers ? UINT64_MAX : (uint64_t{1} << members) - 1;
  }

  // The members that a worker's flows may go to, as bits in the order of the constructor's list; not 0. It follows from
  // its next packet on.
  void set_candidates(size_t worker, uint64_t members) {
    assert(worker < workers_ && members != 0);
    candidates_[worker].store(members, std::memory_order_relaxed);
  }

  size_t workers() const { return workers_; }

  // The member for a flow, by packet::flow_hash(). A worker that came after the group chooses as the first does.
  PeerPath& choose(uint64_t flow, size_t worker) const {
    uint64_t candidates = candidates_[worker < workers_ ? worker : 0].load(std::memory_order_relaxed);
    const Member* chosen = &members_[static_cast<size_t>(std::countr_zero(candidates))];
    uint64_t highest = draw(flow, *chosen);
    for (candidates &= candidates - 1; candidates != 0; candidates &= candidates - 1) {
      const Member& member = members_[static_cast<size_t>(std::countr_zero(candidates))];
      const uint64_t drawn = draw(flow, member);
      if (drawn <= highest) continue;
      chosen = &member;
      highest = drawn;
    }
    return *chosen->path;
  }

  bool contains(const PeerPath& path) const {
    return std::any_of(
        members_.begin(), members_.end(), [&path](const Member& member) { return member.path == &path; });
  }

 private:
  static uint64_t draw(uint64_t flow, const Member& member) {
    return packet::flow_hash_detail::mix(flow ^ member.seed, flow ^ 0x9e3779b97f4a7c15u);
  }

  const std::vector<Member> members_;
  const size_t workers_;
  const std::unique_ptr<std::atomic<uint64_t>[]> candidates_;  // of each worker
};

// Whether packets from an inner address are good that come from this peer. `owner` is what the allowed IPs say of the
// address; null for nobody.
inline bool may_send_from(const PeerPath& path, protocol::PeerHandle owner) {
  if (owner == &path) return true;
  if (owner == nullptr) return false;
  const Route& route = route_of(owner);
  return route.is_group && static_cast<const PeerGroup&>(route).contains(path);
}

}  // namespace culvert::pipeline
