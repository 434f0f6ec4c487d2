// How RingTransfer asks for messages and puts the answers in order.
#include "io/uring/ring_transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/uio.h>

#include <array>
#include <deque>
#include <vector>

#include "tests/io/fake_ring.h"

namespace culvert::io {
namespace {

class RingTransferTest : public testing::Test {
 protected:
  // Message i has i as its buffer's first byte.
  RingTransferTest() {
    auto ring = std::make_unique<FakeRing>([this](Ring::Operation, mmsghdr&) {
      ++asked_;
      if (answers_.empty()) return -EAGAIN;
      const int answer = answers_.front();
      answers_.pop_front();
      return answer;
    });
    ring_ = ring.get();
    transfer_ = std::make_unique<RingTransfer>(std::move(ring), RingTransfer::For::packet_devices);
    for (size_t i = 0; i < messages_.size(); ++i) {
      parts_[i] = {nullptr, 100};
      messages_[i].msg_hdr.msg_iov = &parts_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  Transferred receive(std::deque<int> answers, size_t room = 16, size_t budget = SIZE_MAX, int fd = 3) {
    answers_ = std::move(answers);
    ring_->runs = asked_ = 0;
    return transfer_->receive(fd, std::span(messages_).first(room), budget);
  }

  std::deque<int> answers_;
  size_t asked_ = 0;
  FakeRing* ring_;
  std::unique_ptr<RingTransfer> transfer_;
  std::array<iovec, 100> parts_;
  std::array<mmsghdr, 100> messages_{};
};

TEST_F(RingTransferTest, AsksForWhatCameLastAndOneMore) {
  EXPECT_EQ(receive({}).count, 0u);
  EXPECT_EQ(asked_, 1u);
  EXPECT_EQ(receive({50}).count, 1u);
  EXPECT_EQ(asked_, 1u + 2);
  EXPECT_EQ(receive({50}).count, 1u);
  EXPECT_EQ(asked_, 2u) << "one by one: a call each";
  EXPECT_EQ(ring_->runs, 1u);
  EXPECT_EQ(receive({9, 9, 9, 9, 9, 9, 9}).count, 7u);
  EXPECT_EQ(asked_, 2u + 4 + 8);
  EXPECT_EQ(receive({9, 9, 9, 9, 9, 9, 9}).count, 7u);
  EXPECT_EQ(asked_, 8u);
  EXPECT_EQ(ring_->runs, 1u);
}

TEST_F(RingTransferTest, TakesNoMoreThanTheRoomAndTheEntries) {
  const std::deque<int> many(200, 10);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(receive(many, 5).count, 5u);
    EXPECT_EQ(asked_, 5u);
  }
  EXPECT_EQ(receive(many, 100).count, 100u);
}

TEST_F(RingTransferTest, KeepsTheBudgetByTheLengthOfTheLastMessages) {
  const std::deque<int> many(200, 1000);
  EXPECT_EQ(receive(many, 4).count, 4u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(receive(many, 16, 3500).count, 4u);
  EXPECT_EQ(receive(std::deque<int>(200, 10), 16, 3500).count, 16u) << "short ones fit";
}

TEST_F(RingTransferTest, TakesMessagesOfOneByteWithoutABudget) {
  EXPECT_EQ(receive({1}).count, 1u);
  EXPECT_EQ(receive({1, 1, 1}).count, 3u);
}

TEST_F(RingTransferTest, GuessesForEachDescriptorApart) {
  (void)receive({9, 9, 9, 9, 9, 9, 9}, 16, SIZE_MAX, 3);
  (void)receive({}, 16, SIZE_MAX, 4);
  EXPECT_EQ(asked_, 1u);
  (void)receive({9, 9, 9, 9, 9, 9, 9}, 16, SIZE_MAX, 3);
  EXPECT_EQ(asked_, 8u);
}

TEST_F(RingTransferTest, ClosesRanksWhenAMessageCameBetweenTwoLooks) {
  (void)receive({9, 9, 9, 9, 9, 9, 9});
  const Transferred received = receive({1, -EAGAIN, 2, -EINTR, 3, -EAGAIN, 4, -EAGAIN});
  EXPECT_EQ(received.count, 4u);
  EXPECT_EQ(received.error, 0);
  std::vector<const iovec*> buffers;
  for (size_t i = 0; i < 16; ++i) {
    if (i < 4) EXPECT_EQ(messages_[i].msg_len, i + 1);
    buffers.push_back(messages_[i].msg_hdr.msg_iov);
  }
  EXPECT_THAT(std::span(buffers).first(4), testing::ElementsAre(&parts_[0], &parts_[2], &parts_[4], &parts_[6]));
  std::sort(buffers.begin(), buffers.end());
  EXPECT_EQ(std::unique(buffers.begin(), buffers.end()), buffers.end()) << "each message has its own buffer";
}

TEST_F(RingTransferTest, TellsTheFirstErrorBesideWhatCame) {
  const Transferred failed = receive({-EIO});
  EXPECT_EQ(failed.count, 0u);
  EXPECT_EQ(failed.error, EIO);
  (void)receive({9, 9, 9});
  const Transferred both = receive({9, -EAGAIN, -ECONNREFUSED, -EIO});
  EXPECT_EQ(both.count, 1u);
  EXPECT_EQ(both.error, ECONNREFUSED);
}

TEST_F(RingTransferTest, SendsUpToTheOneThatFails) {
  answers_ = {100, 100, -EINVAL, 100};
  Transferred sent = transfer_->send(3, std::span(messages_).first(4));
  EXPECT_EQ(sent.count, 2u);
  EXPECT_EQ(sent.error, EINVAL);
  answers_ = {100, 50, 100};
  sent = transfer_->send(3, std::span(messages_).first(3));
  EXPECT_EQ(sent.count, 2u) << "one that was taken in part is taken, and the rest is for the next call";
  EXPECT_EQ(messages_[1].msg_len, 50u);
  EXPECT_EQ(sent.error, 0);
  answers_ = std::deque<int>(200, 100);
  EXPECT_EQ(transfer_->send(3, messages_).count, Ring::kEntries);
}

}  // namespace
}  // namespace culvert::io
