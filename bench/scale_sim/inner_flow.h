// The seam to culvert's flow hash: a flow's addresses and ports become a packet, and that packet is hashed.
#pragma once

#include <cstdint>

namespace culvert::scale_sim {

struct InnerFlow {
  bool v6 = false;
  uint64_t source = 0;  // of v4 the low 32 bits; of v6 the low 64, after a prefix
  uint64_t destination = 0;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
};

struct HashKey {
  uint64_t words[2] = {};
};

[[nodiscard]] uint64_t hash_of(const InnerFlow& flow, const HashKey& key);

}  // namespace culvert::scale_sim
