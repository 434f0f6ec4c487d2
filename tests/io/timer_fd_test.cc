#include "io/timer_fd.h"

#include <gtest/gtest.h>

#include <ctime>

#include "io/poller.h"

namespace culvert::io {
namespace {

using namespace std::chrono_literals;

std::chrono::nanoseconds since_boot() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

class TimerFdTest : public testing::Test {
 protected:
  Result<TimerFd> opened_ = TimerFd::open();
  TimerFd& timer_ = *opened_;
};

TEST_F(TimerFdTest, IsNotArmedAtFirst) {
  EXPECT_FALSE(timer_.drain());
}

TEST_F(TimerFdTest, ATimeThatHasPassedExpiresAtOnceAndOnce) {
  for (const auto when : {-1s, 0s, 1s}) {
    timer_.arm(when);
    EXPECT_TRUE(timer_.drain()) << when.count();
    EXPECT_FALSE(timer_.drain()) << when.count();
  }
}

TEST_F(TimerFdTest, WakesAPollerNotBeforeItsTime) {
  auto poller = Poller::open();
  ASSERT_TRUE(poller);
  ASSERT_TRUE(poller->add(timer_.fd(), 5));
  const auto when = since_boot() + 1ms;
  timer_.arm(when);
  PollEvent events[1];
  ASSERT_EQ(poller->wait(events).size(), 1u);
  EXPECT_GE(since_boot(), when);
  EXPECT_TRUE(timer_.drain());
}

TEST_F(TimerFdTest, DisarmingForgetsAnExpiry) {
  timer_.arm(1ns);
  timer_.disarm();
  EXPECT_FALSE(timer_.drain());
}

TEST_F(TimerFdTest, ArmingAgainReplacesTheTime) {
  timer_.arm(1ns);
  timer_.arm(since_boot() + std::chrono::hours(1));
  EXPECT_FALSE(timer_.drain());
}

}  // namespace
}  // namespace culvert::io
