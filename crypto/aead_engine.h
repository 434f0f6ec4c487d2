// The engines behind crypto/aead.h, and which of them is in use. For the daemon's start and metrics, for
// tests and benchmarks; the pipeline needs crypto/aead.h alone.
//
// The files of the vector engines are compiled for instruction sets that the running CPU may lack. They
// include this header, so it holds declarations only: an inline function here could reach another CPU through
// the linker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "crypto/aead.h"
#include "crypto/cpu.h"

namespace culvert::crypto {

// One message for Poly1305 alone (RFC 8439 section 2.5), without the AEAD's padding and length block. Whole blocks
// only: the AEAD has no others.
struct Poly1305Message {
  const uint8_t* key;  // 32 bytes: r, not yet clamped, and s
  const uint8_t* source;
  uint32_t length;  // a multiple of 16, and not 0
  uint8_t* tag;     // 16 bytes, out
};

// One implementation. All pointers are set. The functions may be called from any thread, on CPUs with the
// features that `supported` asks for, and follow the contract of seal() and open() in crypto/aead.h.
struct Engine {
  const char* name;
  bool (*supported)(const CpuFeatures& features);
  void (*seal)(const SealMessage* batch, size_t count);
  size_t (*open)(OpenMessage* batch, size_t count);
  // For tests: every Poly1305 path of the engine must give the same tags. `path` is 0 .. poly1305_paths - 1.
  void (*poly1305)(const Poly1305Message* batch, size_t count, int path);
  int poly1305_paths;
};

// The engines that this build has and this CPU can run, best first; the last is always `portable`.
std::span<const Engine* const> engines();

// Uses the engine of this name from now on: `portable`, `avx2` or `avx512`. Returns an empty string, or the
// reason why not in words, and then nothing has changed. Not meant to be called while other threads seal,
// though it is safe.
[[nodiscard]] std::string select_engine(std::string_view name);

// The engine in use. The first call of any function here or in crypto/aead.h picks it: the one that the
// environment variable CULVERT_AEAD names, else the best.
const Engine& current_engine();

// Its name, for logs and metrics.
const char* engine_name();

// Why CULVERT_AEAD was not followed, in words; empty if it was, or is not set. The best engine is used then.
const std::string& engine_override_error();

// The engines themselves; they exist where the build has them.
extern const Engine kPortableEngine;
extern const Engine kAvx2Engine;
extern const Engine kAvx512Engine;

}  // namespace culvert::crypto
