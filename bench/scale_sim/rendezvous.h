// Rendezvous hashing: each flow goes to the member that draws the highest number for it. A member that dies leaves its
// own flows to the others and takes them back when it lives again; no other flow moves.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bench/scale_sim/random.h"

namespace culvert::scale_sim {

// The member for a flow, or nothing when all are dead.
[[nodiscard]] inline std::optional<uint32_t> choose_member(uint64_t flow_hash, const std::vector<bool>& alive) {
  std::optional<uint32_t> chosen;
  uint64_t highest = 0;
  for (uint32_t member = 0; member < alive.size(); ++member) {
    if (!alive[member]) continue;
    const uint64_t drawn = scramble(flow_hash ^ scramble(member + 1));
    if (chosen && drawn <= highest) continue;
    chosen = member;
    highest = drawn;
  }
  return chosen;
}

}  // namespace culvert::scale_sim
