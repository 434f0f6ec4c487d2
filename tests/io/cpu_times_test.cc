#include "io/cpu_times.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <thread>

namespace culvert::io {
namespace {

TEST(CpuTimesReader, TellsHowLongItsThreadRan) {
  const CpuTimesReader reader = CpuTimesReader::of_this_thread();
  const auto before = reader.read();
  ASSERT_TRUE(before) << "this kernel has no CONFIG_SCHED_INFO, or /proc is missing";
  while (reader.read()->ran == before->ran) {
  }
  EXPECT_GT(reader.read()->ran, before->ran);
  EXPECT_GE(reader.read()->waited, before->waited);
}

TEST(CpuTimesReader, TellsOthersOfItsThreadUntilThatEnds) {
  std::promise<CpuTimesReader> made;
  std::promise<void> end;
  std::thread thread([&] {
    made.set_value(CpuTimesReader::of_this_thread());
    end.get_future().wait();
  });
  const CpuTimesReader reader = made.get_future().get();
  EXPECT_TRUE(reader.read());
  end.set_value();
  thread.join();
  // The kernel may still be about to forget the thread.
  while (reader.read()) ::usleep(1000);
  EXPECT_FALSE(reader.read());
}

TEST(CpuTimesReader, TellsNothingOfNoThread) {
  EXPECT_FALSE(CpuTimesReader().read());
}

}  // namespace
}  // namespace culvert::io
