// The check before the race: every contender must give the same bytes.
#pragma once

#include <string>

#include "bench/aead_contender.h"

namespace culvert::bench {

// Seals batches of mixed lengths and keys with each contender, compares every byte with the first
// contender's, opens them, and opens them again with one bit wrong. Returns an empty string, or the first
// disagreement.
[[nodiscard]] std::string find_disagreement(const Contenders& contenders);

}  // namespace culvert::bench
