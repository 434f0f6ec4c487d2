#include "io/kernel_version.h"

#include <gtest/gtest.h>

namespace culvert::io {
namespace {

TEST(KernelVersion, IsReadFromWhatUnameSays) {
  EXPECT_EQ(parse_kernel_version("6.1.0-18-amd64"), (KernelVersion{6, 1, 0}));
  EXPECT_EQ(parse_kernel_version("6.8.12"), (KernelVersion{6, 8, 12}));
  EXPECT_EQ(parse_kernel_version("6.12-rc1"), (KernelVersion{6, 12, 0}));
  EXPECT_EQ(parse_kernel_version("7"), (KernelVersion{7, 0, 0}));
  EXPECT_EQ(parse_kernel_version("5.15.0+"), (KernelVersion{5, 15, 0}));
}

TEST(KernelVersion, IsNothingWhereThereIsNoNumber) {
  for (const char* const release : {"", "linux", "6.", "6.x.1", "99999999999999999999.1"})
    EXPECT_EQ(parse_kernel_version(release), std::nullopt) << release;
}

TEST(KernelVersion, IsOrderedByItsNumbers) {
  EXPECT_LT((KernelVersion{5, 12, 0}), (KernelVersion{6, 1, 0}));
  EXPECT_LT((KernelVersion{6, 8, 4}), (KernelVersion{6, 8, 5}));
  EXPECT_GE(kernel_version(), (KernelVersion{4, 18, 0})) << "this runs on one";
}

}  // namespace
}  // namespace culvert::io
