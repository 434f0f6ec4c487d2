#include "io/wakeup.h"

#include <gtest/gtest.h>

#include <thread>

#include "io/poller.h"

namespace culvert::io {
namespace {

TEST(WakeupTest, ManyNotificationsAreOne) {
  auto wakeup = Wakeup::open();
  ASSERT_TRUE(wakeup) << wakeup.error().text();
  EXPECT_FALSE(wakeup->drain());
  wakeup->notify();
  wakeup->notify();
  EXPECT_TRUE(wakeup->drain());
  EXPECT_FALSE(wakeup->drain());
}

TEST(WakeupTest, ANotificationFromAnotherThreadEndsAWait) {
  auto wakeup = Wakeup::open();
  ASSERT_TRUE(wakeup) << wakeup.error().text();
  auto poller = Poller::open();
  ASSERT_TRUE(poller) << poller.error().text();
  ASSERT_TRUE(poller->add(wakeup->fd(), 7));

  int written_before = 0;
  std::thread other([&] {
    written_before = 42;
    wakeup->notify();
  });
  PollEvent events[4];
  const auto ready = poller->wait(events);
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].tag, 7u);
  EXPECT_TRUE(ready[0].readable);
  EXPECT_TRUE(wakeup->drain());
  other.join();
  EXPECT_EQ(written_before, 42);
}

}  // namespace
}  // namespace culvert::io
