#include "src/packet/flow_hash.h"

#include <sys/random.h>

#include <ctime>

namespace culvert::packet {

FlowHashKey make_flow_hash_key() {
  FlowHashKey key;
  if (getrandom(key.words, sizeof key.words, GRND_NONBLOCK) == sizeof key.words) return key;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  // Where the stack lies, and the time.
  key.words[0] = reinterpret_cast<uintptr_t>(&key) * 0x9e3779b97f4a7c15u;
  key.words[1] = static_cast<uint64_t>(now.tv_nsec) * 0xd6e8feb86659fd93u;
  return key;
}

}  // namespace culvert::packet
