#include "io/poller.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

namespace culvert::io {
namespace {

using std::chrono::nanoseconds;

struct Pipe {
  Fd read_end, write_end;

  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0) {
      read_end.reset(ends[0]);
      write_end.reset(ends[1]);
    }
  }
};

class PollerTest : public testing::Test {
 protected:
  Result<Poller> opened_ = Poller::open();
  Poller& poller_ = *opened_;
  Pipe pipe_;
  std::array<PollEvent, 8> events_;

  std::span<PollEvent> look() { return poller_.wait(events_, nanoseconds(0)); }
};

TEST_F(PollerTest, ReportsTheTagForAsLongAsTheDescriptorIsReady) {
  ASSERT_TRUE(poller_.add(pipe_.read_end.get(), 1ull << 63));
  EXPECT_TRUE(look().empty());
  ASSERT_EQ(::write(pipe_.write_end.get(), "x", 1), 1);
  for (int round = 0; round < 2; ++round) {
    const auto ready = poller_.wait(events_);
    ASSERT_EQ(ready.size(), 1u);
    EXPECT_EQ(ready[0].tag, 1ull << 63);
    EXPECT_TRUE(ready[0].readable);
    EXPECT_FALSE(ready[0].writable);
    EXPECT_FALSE(ready[0].hung_up);
  }
  char byte;
  ASSERT_EQ(::read(pipe_.read_end.get(), &byte, 1), 1);
  EXPECT_TRUE(look().empty());
}

TEST_F(PollerTest, ChangesTagAndInterest) {
  const int fd = pipe_.write_end.get();
  ASSERT_TRUE(poller_.add(fd, 1, Poller::kNone));
  EXPECT_TRUE(look().empty());
  ASSERT_TRUE(poller_.modify(fd, 2, Poller::kWrite));
  const auto ready = look();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].tag, 2u);
  EXPECT_TRUE(ready[0].writable);
  ASSERT_TRUE(poller_.remove(fd));
  EXPECT_TRUE(look().empty());
}

TEST_F(PollerTest, ReportsAHangUp) {
  ASSERT_TRUE(poller_.add(pipe_.read_end.get(), 3));
  pipe_.write_end.reset();
  const auto ready = look();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_TRUE(ready[0].hung_up);
}

TEST_F(PollerTest, HandsOutNoMoreEventsThanThereIsRoomFor) {
  std::vector<Pipe> pipes(100);
  for (size_t i = 0; i < pipes.size(); ++i) ASSERT_TRUE(poller_.add(pipes[i].write_end.get(), i, Poller::kWrite));
  EXPECT_EQ(look().size(), events_.size());
  EXPECT_EQ(poller_.wait(std::span(events_).first(1), nanoseconds(0)).size(), 1u);
}

TEST_F(PollerTest, SaysWhatIsWrong) {
  const int fd = pipe_.read_end.get();
  EXPECT_EQ(poller_.modify(fd, 0, Poller::kRead).error().number, ENOENT);
  EXPECT_EQ(poller_.remove(fd).error().number, ENOENT);
  EXPECT_EQ(poller_.add(-1, 0).error().number, EBADF);
  ASSERT_TRUE(poller_.add(fd, 0));
  EXPECT_EQ(poller_.add(fd, 0).error().number, EEXIST);
}

TEST_F(PollerTest, ATimeoutThatHasPassedIsALook) {
  EXPECT_TRUE(poller_.wait(events_, nanoseconds(-5)).empty());
}

TEST_F(PollerTest, AShortTimeoutEnds) {
  EXPECT_TRUE(poller_.wait(events_, nanoseconds(1)).empty());
}

}  // namespace
}  // namespace culvert::io
