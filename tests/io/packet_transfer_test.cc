// How many reads a receive makes; what becomes of packets and errors is in tests/tun/tun_queue_test.cc.

#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "io/transfer.h"

namespace culvert::io {
namespace {

size_t waiting = 0, reads = 0;

ssize_t read_one(int, void*, size_t) {
  ++reads;
  if (waiting == 0) {
    errno = EAGAIN;
    return -1;
  }
  --waiting;
  return 100;
}

constexpr Syscalls kDevice = {.read = read_one};

TEST(PacketTransfer, TakesAsManyAsCameLastAndTwiceAsManyWhileTheyCome) {
  struct Step {
    const char* name;
    size_t arrive, taken, reads;
  };
  constexpr Step kSteps[] = {
      {"at first it looks until there is no more", 2, 2, 3},
      {"two came last: it looks for a second", 1, 1, 2},
      {"one came last: it takes one and goes", 1, 1, 1},
      {"all that it took were there: it may take two", 20, 2, 2},
      {"and four", 0, 4, 4},
      {"and eight", 0, 8, 8},
      {"until there is no more", 0, 6, 7},
      {"six came last", 6, 6, 6},
      {"nothing comes", 0, 0, 1},
      {"one comes", 1, 1, 1},
  };
  PacketTransfer transfer(kDevice);
  std::array<uint8_t, 200> memory;
  iovec part = {memory.data(), memory.size()};
  std::array<mmsghdr, 64> messages{};
  for (mmsghdr& message : messages) {
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
  }
  for (const Step& step : kSteps) {
    waiting += step.arrive;
    reads = 0;
    const Transferred received = transfer.receive(-1, messages, SIZE_MAX);
    EXPECT_EQ(received.count, step.taken) << step.name;
    EXPECT_EQ(received.error, 0) << step.name;
    EXPECT_EQ(reads, step.reads) << step.name;
  }
}

}  // namespace
}  // namespace culvert::io
