// What this CPU and this kernel allow: an instruction set counts only if CPUID reports it and the operating
// system saves its registers (XCR0; Intel SDM volume 1, section 13.3).
//
// Thread safety: every function may be called from any thread at any time.
#pragma once

#include <string>
#include <string_view>

namespace culvert::crypto {

struct CpuFeatures {
  bool avx2 = false;
  bool bmi2 = false;
  bool avx512f = false;
  bool avx512dq = false;
  bool avx512bw = false;
  bool avx512vl = false;
  bool avx512ifma = false;

  friend bool operator==(const CpuFeatures&, const CpuFeatures&) = default;
};

// Asks the CPU and the operating system. Nothing is masked.
CpuFeatures detect_cpu_features();

// Clears the features that `mask` names: names of CpuFeatures' members, separated by commas, or `all`. A name
// that is not known clears nothing and is added to `unknown`, separated by commas, if that is not null.
// AVX-512 needs AVX2 and every AVX-512 set needs avx512f, so hiding one hides what builds on it.
CpuFeatures mask_cpu_features(CpuFeatures features, std::string_view mask, std::string* unknown = nullptr);

// The features to use: detected once, less those that the environment variable CULVERT_CPU_MASK names (for
// tests and bug reports).
const CpuFeatures& cpu_features();

// The names of the features that are there, separated by spaces, for logs; `none` if there are none.
std::string describe(const CpuFeatures& features);

}  // namespace culvert::crypto
