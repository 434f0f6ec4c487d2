// The implementations behind checksum.h, one per instruction set, for the dispatch and for its tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace culvert::packet {

// One implementation. Both functions follow the contract of checksum.h.
struct ChecksumEngine {
  const char* name;
  bool (*runs_here)();  // whether this CPU has what it needs
  uint64_t (*add)(const uint8_t* bytes, size_t length);
  uint64_t (*copy)(uint8_t* destination, const uint8_t* source, size_t length);
};

// All that were built for this architecture, the fastest first; the last one runs everywhere.
std::span<const ChecksumEngine> checksum_engines();

}  // namespace culvert::packet
