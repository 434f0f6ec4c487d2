#include "crypto/cpu.h"

#include <gtest/gtest.h>

namespace culvert::crypto {
namespace {

constexpr CpuFeatures kEverything{true, true, true, true, true, true, true};

struct MaskCase {
  const char* name;
  const char* mask;
  CpuFeatures left;
  const char* unknown;
};

constexpr MaskCase kMaskCases[] = {
    {"an empty mask hides nothing", "", kEverything, ""},
    {"one set is hidden alone", "bmi2", {true, false, true, true, true, true, true}, ""},
    {"two sets are hidden together", "bmi2,avx512ifma", {true, false, true, true, true, true, false}, ""},
    {"hiding the AVX-512 foundation hides all of AVX-512",
     "avx512f",
     {true, true, false, false, false, false, false},
     ""},
    {"hiding AVX2 hides what builds on it", "avx2", {false, true, false, false, false, false, false}, ""},
    {"all hides everything", "all", {}, ""},
    {"unknown names hide nothing and are reported",
     "sse9,avx512bw,neon",
     {true, true, true, true, false, true, true},
     "sse9,neon"},
    {"empty names between commas are ignored", ",,bmi2,", {true, false, true, true, true, true, true}, ""},
};

TEST(MaskCpuFeatures, HidesWhatIsNamedAndWhatBuildsOnIt) {
  for (const MaskCase& mask : kMaskCases) {
    std::string unknown;
    EXPECT_EQ(mask_cpu_features(kEverything, mask.mask, &unknown), mask.left) << mask.name;
    EXPECT_EQ(unknown, mask.unknown) << mask.name;
  }
}

TEST(MaskCpuFeatures, NeverAddsAFeature) {
  EXPECT_EQ(mask_cpu_features({}, "bmi2"), CpuFeatures{});
}

TEST(DetectCpuFeatures, AgreesWithTheCompilerRuntime) {
#if defined(__x86_64__)
  const CpuFeatures features = detect_cpu_features();
  EXPECT_EQ(features.avx2, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(features.bmi2, __builtin_cpu_supports("bmi2") != 0);
  EXPECT_EQ(features.avx512f, __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ(features.avx512ifma, __builtin_cpu_supports("avx512ifma") != 0);
#else
  EXPECT_EQ(detect_cpu_features(), CpuFeatures{});
#endif
}

TEST(DescribeCpuFeatures, ListsTheNames) {
  EXPECT_EQ(describe({}), "none");
  EXPECT_EQ(describe({.avx2 = true, .avx512f = true}), "avx2 avx512f");
}

}  // namespace
}  // namespace culvert::crypto
