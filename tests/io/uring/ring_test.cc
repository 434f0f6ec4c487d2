// Ring on the real kernel: what it does in order, and why it cannot be had.
#include "io/uring/ring.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <vector>

#include "io/fd.h"
#include "io/uring/ring_transfer.h"
#include "tests/forbidden_call.h"

namespace culvert::io {
namespace {

using Operation = Ring::Operation;

class RingTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Ring::open();
    if (!opened) GTEST_SKIP() << opened.error().text();
    ring_ = std::move(*opened);
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    here_.reset(ends[0]);
    there_.reset(ends[1]);
    for (size_t i = 0; i < kMessages; ++i) {
      bytes_[i] = {static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)};
      parts_[i] = {bytes_[i].data(), bytes_[i].size()};
      messages_[i].msg_hdr.msg_iov = &parts_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  std::span<const int> run(Operation operation, const Fd& fd, size_t count) {
    ring_->run(operation, fd.get(), std::span(messages_).first(count), results_);
    return std::span(results_).first(count);
  }

  // What the other end got, until there is no more.
  std::vector<int> arrived() {
    std::vector<int> numbers;
    std::array<uint8_t, 64> datagram{};
    while (::read(there_.get(), datagram.data(), datagram.size()) >= 2)
      numbers.push_back(datagram[0] | datagram[1] << 8);
    return numbers;
  }

  static constexpr size_t kMessages = Ring::kEntries;
  std::unique_ptr<Ring> ring_;
  Fd here_, there_;
  std::array<std::array<uint8_t, 2>, kMessages> bytes_;
  std::array<iovec, kMessages> parts_;
  std::array<mmsghdr, kMessages> messages_{};
  std::array<int, kMessages> results_;
};

TEST_F(RingTest, SendsAndReceivesInOrder) {
  for (const size_t count : {1, 2, 7}) {
    EXPECT_THAT(run(Operation::send, here_, count), testing::Each(2));
    std::vector<int> expected(count);
    for (size_t i = 0; i < count; ++i) expected[i] = static_cast<int>(i);
    EXPECT_EQ(arrived(), expected);
  }
  EXPECT_THAT(run(Operation::send, there_, 3), testing::Each(2));
  EXPECT_THAT(run(Operation::receive, here_, 5), testing::ElementsAre(2, 2, 2, -EAGAIN, -EAGAIN));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(bytes_[i][0], i);
}

TEST_F(RingTest, CancelsWhatIsBehindASendThatFails) {
  std::vector<uint8_t> too_long(8 << 20);
  parts_[2] = {too_long.data(), too_long.size()};
  EXPECT_THAT(run(Operation::send, here_, 5), testing::ElementsAre(2, 2, -EMSGSIZE, -ECANCELED, -ECANCELED));
  EXPECT_EQ(arrived(), (std::vector<int>{0, 1}));
  parts_[2] = {bytes_[2].data(), bytes_[2].size()};
  EXPECT_THAT(run(Operation::send, here_, 5), testing::Each(2)) << "nothing of before is left";
  EXPECT_EQ(arrived(), (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST_F(RingTest, SendsInOrderWhatIsLeftOfABatchThatMakesNoSense) {
  std::vector<iovec> parts(2000, parts_[2]);
  messages_[2].msg_hdr.msg_iov = parts.data();
  messages_[2].msg_hdr.msg_iovlen = parts.size();  // above UIO_MAXIOV
  RingTransfer transfer(std::move(ring_), RingTransfer::For::sockets);
  std::vector<int> errors;
  for (size_t next = 0; next < 5;) {
    const Transferred sent = transfer.send(here_.get(), std::span(messages_).subspan(next, 5 - next));
    ASSERT_TRUE(sent.count != 0 || sent.error != 0);
    next += sent.count;
    if (sent.error != 0) {
      errors.push_back(sent.error);
      ++next;
    }
  }
  EXPECT_EQ(errors, std::vector<int>{EMSGSIZE});
  EXPECT_EQ(arrived(), (std::vector<int>{0, 1, 3, 4}));
}

TEST_F(RingTest, NeverWaitsForRoomOrForMessages) {
  size_t sent = 0;
  while (run(Operation::send, here_, 1)[0] == 2) ++sent;
  EXPECT_EQ(results_[0], -EAGAIN);
  EXPECT_EQ(arrived().size(), sent);
  EXPECT_EQ(run(Operation::receive, here_, 1)[0], -EAGAIN);
}

TEST_F(RingTest, ReadsAndWritesFilesThatAreNoSockets) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK | O_DIRECT), 0);
  const Fd out(ends[0]), in(ends[1]);
  EXPECT_THAT(run(Operation::write, in, 3), testing::Each(2));
  for (auto& bytes : bytes_) bytes = {};
  EXPECT_THAT(run(Operation::read, out, 4), testing::ElementsAre(2, 2, 2, -EAGAIN));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(bytes_[i][0], i) << "packets of a pipe stay apart and in order";
}

TEST_F(RingTest, AnswersForADescriptorThatIsClosed) {
  EXPECT_THAT(run(Operation::send, Fd(), 3), testing::ElementsAre(-EBADF, -ECANCELED, -ECANCELED));
  EXPECT_THAT(run(Operation::receive, Fd(), 3), testing::Each(-EBADF));
  EXPECT_THAT(run(Operation::send, here_, 3), testing::Each(2));
}

TEST(RingOpenTest, SaysWhyThereIsNone) {
  struct Case {
    int error;
    const char* reason;
  };
  for (const Case& c : {Case{EPERM, "a seccomp filter forbids it"}, Case{ENOSYS, "this kernel has none"},
                        Case{ENOMEM, "RLIMIT_MEMLOCK"}, Case{EMFILE, "set up io_uring: "}}) {
    // A filter is for good, but only this thread's.
    std::thread([&c] {
      culvert::test::forbid_call(__NR_io_uring_setup, c.error);
      const auto ring = Ring::open();
      ASSERT_FALSE(ring);
      EXPECT_EQ(ring.error().number, c.error);
      EXPECT_THAT(ring.error().text(), testing::HasSubstr("set up io_uring"));
      EXPECT_THAT(ring.error().text(), testing::HasSubstr(c.reason));
    }).join();
  }
}

TEST(RingOpenTest, MayBeMadeAndDestroyedByOtherThreadsThanItsUser) {
  auto opened = Ring::open();
  if (!opened) GTEST_SKIP() << opened.error().text();
  std::thread([&opened] {
    mmsghdr message{};
    int result = 0;
    (*opened)->run(Operation::receive, -1, {&message, 1}, {&result, 1});
    EXPECT_EQ(result, -EBADF);
  }).join();
}

}  // namespace
}  // namespace culvert::io
