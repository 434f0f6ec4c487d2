#include "bench/scale_sim/inner_flow.h"

#include "bench/scale_sim/random.h"

namespace culvert::scale_sim {

uint64_t hash_of(const InnerFlow& flow, const HashKey& key) {
  const uint64_t ports = uint64_t{flow.source_port} << 16 | flow.destination_port | uint64_t{flow.v6} << 32;
  return scramble(scramble(scramble(flow.source ^ key.words[0]) ^ flow.destination) ^ key.words[1] ^ ports);
}

}  // namespace culvert::scale_sim
