#include "io/steering_table.h"

#include <algorithm>

namespace culvert::io {
namespace {

// How far two slots are apart; the last one is a neighbour of the first.
size_t distance(size_t a, size_t b) {
  const size_t ahead = (a + kSlots - b) % kSlots;
  return std::min(ahead, kSlots - ahead);
}

}  // namespace

SteeringTable::SteeringTable(size_t workers) : workers_(std::clamp<size_t>(workers, 1, kMaxWorkers)) {
  for (size_t slot = 0; slot < kSlots; ++slot) entries_[slot] = static_cast<uint8_t>(slot % workers_);
}

void SteeringTable::resize(size_t workers) {
  const size_t wanted = std::clamp<size_t>(workers, 1, kMaxWorkers);
  while (workers_ < wanted) add_worker();
  while (workers_ > wanted) remove_last_worker();
}

std::array<size_t, kMaxWorkers> SteeringTable::shares() const {
  std::array<size_t, kMaxWorkers> shares{};
  for (const uint8_t worker : entries_) ++shares[worker];
  return shares;
}

// The new worker takes its slots at even distances, each from a worker that has most.
void SteeringTable::add_worker() {
  const auto newcomer = static_cast<uint8_t>(workers_++);
  std::array<size_t, kMaxWorkers> share = shares();
  const size_t wanted = kSlots / workers_;
  for (size_t taken = 0; taken < wanted; ++taken) {
    const size_t most = *std::max_element(share.begin(), share.begin() + newcomer);
    const size_t ideal = taken * kSlots / wanted;
    size_t best = kSlots, best_cost = SIZE_MAX;
    for (size_t slot = 0; slot < kSlots; ++slot) {
      if (entries_[slot] == newcomer || share[entries_[slot]] != most) continue;
      const bool beside = worker(slot + 1) == newcomer || worker(slot + kSlots - 1) == newcomer;
      const size_t cost = distance(slot, ideal) + (beside ? kSlots : 0);
      if (cost < best_cost) best = slot, best_cost = cost;
    }
    --share[entries_[best]];
    entries_[best] = newcomer;
  }
}

// Each slot of the last worker goes to one whose share has room and who has no slot beside it, if there is one; among
// those to who has least.
void SteeringTable::remove_last_worker() {
  const auto leaver = static_cast<uint8_t>(--workers_);
  const size_t even = kSlots / workers_;
  size_t larger = kSlots % workers_;  // so many may have one more
  std::array<size_t, kMaxWorkers> share = shares();
  for (size_t i = 0; i < workers_; ++i) larger -= share[i] > even ? 1 : 0;
  for (size_t slot = 0; slot < kSlots; ++slot) {
    if (entries_[slot] != leaver) continue;
    size_t heir = 0, best_cost = SIZE_MAX;
    for (size_t candidate = 0; candidate < workers_; ++candidate) {
      if (share[candidate] > even || (share[candidate] == even && larger == 0)) continue;
      const bool beside = worker(slot + 1) == candidate || worker(slot + kSlots - 1) == candidate;
      const size_t cost = share[candidate] + (beside ? 2 * kSlots : 0) + (share[candidate] == even ? kSlots : 0);
      if (cost < best_cost) heir = candidate, best_cost = cost;
    }
    larger -= ++share[heir] > even ? 1 : 0;
    entries_[slot] = static_cast<uint8_t>(heir);
  }
}

SlotMoves moves_between(const SteeringTable& before, const SteeringTable& after) {
  SlotMoves moves;
  for (size_t slot = 0; slot < kSlots; ++slot) {
    if (before.worker(slot) == after.worker(slot)) continue;
    moves.losing.set(before.worker(slot));
    moves.gaining.set(after.worker(slot));
    ++moves.slots;
  }
  return moves;
}

}  // namespace culvert::io
