// A flow becomes a TCP packet, and that packet goes through the flow hash of the data path.
#pragma once

#include <cstdint>

#include "src/packet/flow_hash.h"

namespace culvert::scale_sim {

struct InnerFlow {
  bool v6 = false;
  uint64_t source = 0;  // of v4 the low 32 bits; of v6 the low 64, after a prefix
  uint64_t destination = 0;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
};

[[nodiscard]] uint64_t hash_of(const InnerFlow& flow, const packet::FlowHashKey& key);

}  // namespace culvert::scale_sim
