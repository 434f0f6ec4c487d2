#include "crypto/cpu.h"

#include <array>
#include <cstdint>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace culvert::crypto {
namespace {

struct NamedFeature {
  std::string_view name;
  bool CpuFeatures::*member;
};

constexpr std::array kFeatures{
    NamedFeature{"avx2", &CpuFeatures::avx2},
    NamedFeature{"bmi2", &CpuFeatures::bmi2},
    NamedFeature{"avx512f", &CpuFeatures::avx512f},
    NamedFeature{"avx512dq", &CpuFeatures::avx512dq},
    NamedFeature{"avx512bw", &CpuFeatures::avx512bw},
    NamedFeature{"avx512vl", &CpuFeatures::avx512vl},
    NamedFeature{"avx512ifma", &CpuFeatures::avx512ifma},
};

// Restores what one feature needs of another after some were hidden.
void drop_orphans(CpuFeatures& features) {
  if (!features.avx2) features.avx512f = false;
  if (!features.avx512f) features.avx512dq = features.avx512bw = features.avx512vl = features.avx512ifma = false;
}

#if defined(__x86_64__)
constexpr bool bit(uint32_t word, int index) {
  return (word >> index & 1) != 0;
}

// The registers that the operating system saves. XGETBV by its bytes: the instruction needs no compiler flag
// then.
uint64_t xcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}
#endif

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__)
  constexpr uint64_t kYmmState = 0x06;  // SSE and AVX
  constexpr uint64_t kZmmState = 0xe6;  // and opmask, upper halves, upper sixteen registers
  constexpr int kOsxsaveBit = 27;       // leaf 1, ecx
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || !bit(ecx, kOsxsaveBit)) return features;
  const uint64_t saved = xcr0();
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  features.bmi2 = bit(ebx, 8);
  features.avx2 = bit(ebx, 5) && (saved & kYmmState) == kYmmState;
  features.avx512f = bit(ebx, 16) && (saved & kZmmState) == kZmmState;
  features.avx512dq = bit(ebx, 17);
  features.avx512ifma = bit(ebx, 21);
  features.avx512bw = bit(ebx, 30);
  features.avx512vl = bit(ebx, 31);
  drop_orphans(features);
#endif
  return features;
}

CpuFeatures mask_cpu_features(CpuFeatures features, std::string_view mask, std::string* unknown) {
  while (!mask.empty()) {
    const size_t comma = mask.find(',');
    const std::string_view name = mask.substr(0, comma);
    mask = comma == std::string_view::npos ? std::string_view{} : mask.substr(comma + 1);
    bool known = name.empty();
    for (const NamedFeature& feature : kFeatures) {
      if (name != "all" && name != feature.name) continue;
      features.*feature.member = false;
      known = true;
    }
    if (!known && unknown != nullptr) {
      if (!unknown->empty()) *unknown += ',';
      *unknown += name;
    }
  }
  drop_orphans(features);
  return features;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = [] {
    const char* mask = std::getenv("CULVERT_CPU_MASK");
    return mask_cpu_features(detect_cpu_features(), mask == nullptr ? "" : mask);
  }();
  return features;
}

std::string describe(const CpuFeatures& features) {
  std::string names;
  for (const NamedFeature& feature : kFeatures) {
    if (!(features.*feature.member)) continue;
    if (!names.empty()) names += ' ';
    names += feature.name;
  }
  return names.empty() ? "none" : names;
}

}  // namespace culvert::crypto
