// Two queues read as one, sparse flows first: order within each flow, and nobody starves. The test plays the device and
// its program; packets come in the middle of every system call.
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>

#include "tun/tun_queue.h"

namespace culvert::tun {
namespace {

struct Packet {
  uint32_t flow, number;
};

struct FakeDevice {
  std::map<int, std::deque<Packet>> queues;  // by descriptor
  std::function<void()> between = [] {};     // before and behind each system call
  lane shared{};
};
FakeDevice* device = nullptr;

ssize_t fake_read(int fd, void* bytes, size_t) {
  device->between();
  std::deque<Packet>& queue = device->queues[fd];
  errno = EAGAIN;
  ssize_t got = -1;
  if (!queue.empty()) {
    std::memcpy(bytes, &queue.front(), sizeof(Packet));
    queue.pop_front();
    got = sizeof(Packet);
  }
  device->between();
  errno = EAGAIN;
  return got;
}

constexpr io::Syscalls kFakes = {.read = fake_read};

class TunQueuePairTest : public testing::Test {
 protected:
  TunQueuePairTest() {
    device = &fake;
    auto second = std::make_unique<TunQueue>(io::Fd(::eventfd(0, 0)), false, io::InnerOffloads(), kFakes);
    sparse_fd = second->fd();
    queue.pair_with(std::move(second), &fake.shared);
  }

  void put(bool bulk, Packet packet, uint64_t when) {
    if (bulk && fake.shared.queued - fake.shared.taken < LANE_ROOM)
      fake.shared.stamps[fake.shared.queued++ % LANE_STAMPS] = when;
    fake.queues[bulk ? queue.fd() : sparse_fd].push_back(packet);
  }

  std::vector<Packet> read() {
    EXPECT_EQ(queue.read(batch), io::ReadOutcome::ok);
    std::vector<Packet> packets;
    for (const io::Superpacket& each : std::span(batch.packets).first(batch.count)) {
      Packet& packet = packets.emplace_back();
      std::memcpy(&packet, each.bytes, sizeof packet);
    }
    queue.release(batch);
    return packets;
  }

  FakeDevice fake;
  TunQueue queue{io::Fd(::eventfd(0, 0)), false, io::InnerOffloads(), kFakes};
  int sparse_fd = -1;
  io::PlainBatch batch;
};

TEST_F(TunQueuePairTest, ShowsBothDescriptorsAndCountsBoth) {
  EXPECT_EQ(queue.poll_fds().size(), 2u);
  put(true, {1, 0}, 1);
  put(false, {2, 0}, 2);
  size_t read_packets = 0;
  while (read_packets < 2) read_packets += read().size();
  EXPECT_EQ(queue.counters().read_packets.get(), 2u);
}

TEST_F(TunQueuePairTest, LetsSparseFlowsGoFirst) {
  for (uint32_t i = 0; i < 40; ++i) put(true, {1, i}, 1);
  EXPECT_EQ(read().at(0).flow, 1u);
  put(false, {2, 0}, 2);
  const std::vector<Packet> packets = read();
  ASSERT_GT(packets.size(), 1u);
  EXPECT_EQ(packets[0].flow, 2u);
  EXPECT_EQ(packets[1].flow, 1u);
}

TEST_F(TunQueuePairTest, TellsHowLongBulkPacketsWaited) {
  put(true, {1, 0}, 1);  // a nanosecond after the machine was started
  put(false, {2, 0}, 2);
  EXPECT_EQ(queue.read(batch), io::ReadOutcome::ok);
  while (batch.packets[batch.count - 1].bytes[0] != 1) EXPECT_EQ(queue.read(batch), io::ReadOutcome::ok);
  EXPECT_GT(batch.packets[batch.count - 1].waited_us, 1000u);
}

TEST_F(TunQueuePairTest, ReadsPacketsOneAtATimeWithoutASecondLook) {
  int calls = 0;
  fake.between = [&] { ++calls; };
  while (!read().empty()) {
  }
  for (int i = 0; i < 3; ++i) (void)read();
  for (uint32_t i = 0; i < 10; ++i) {
    put(false, {2, i}, 1);
    calls = 0;
    size_t found = 0;
    while (found == 0) found = read().size();
    EXPECT_LE(calls, 2 * 3) << "reads, at most one of which found nothing and one of the other queue";
    while (!read().empty()) {
    }
  }
}

// The program's rules: from sparse to bulk whenever it likes, and says so; back when nothing of the flow is left there.
TEST_F(TunQueuePairTest, KeepsEveryFlowInOrderWhileFlowsMove) {
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    std::mt19937 random(seed);
    struct Flow {
      uint32_t sent = 0, read = 0;
      uint64_t last = 0;
      bool bulk = false;
    };
    std::array<Flow, 12> flows{};
    uint64_t clock = 1'000'000 * uint64_t{seed};
    bool sending = true;
    fake.between = [&] {
      if (!sending) return;
      for (uint32_t i = random() % 4; i > 0; --i) {
        const uint32_t number = random() % flows.size();
        Flow& flow = flows[number];
        if (!flow.bulk && random() % 6 == 0) {
          flow.bulk = true;
          ++fake.shared.moves;
        } else if (flow.bulk && random() % 3 == 0 && fake.shared.done >= flow.last) {
          flow.bulk = false;
        }
        flow.last = ++clock;
        if (fake.queues[queue.fd()].size() + fake.queues[sparse_fd].size() < 800)
          put(flow.bulk, {number, flow.sent++}, flow.last);
      }
    };
    size_t empty = 0, all = 0;
    for (int step = 0; step < 1500 || empty < 4; ++step) {
      sending = step < 1500;
      const std::vector<Packet> packets = read();
      empty = packets.empty() && !batch.more ? empty + 1 : 0;
      all += packets.size();
      for (const Packet& packet : packets)
        ASSERT_EQ(packet.number, flows[packet.flow].read++) << "flow " << packet.flow << ", seed " << seed;
    }
    for (const Flow& flow : flows) EXPECT_EQ(flow.read, flow.sent);
    EXPECT_GT(all, 5'000u);
  }
}

TEST_F(TunQueuePairTest, TakesBulkBesideSparseFlowsThatNeverEnd) {
  uint32_t sparse = 0, bulk = 0;
  fake.between = [&] {
    while (fake.queues[sparse_fd].size() < 100) put(false, {2, sparse++}, 1);
    while (fake.queues[queue.fd()].size() < 100) put(true, {1, bulk++}, 1);
  };
  for (const bool moving : {false, true}) {
    std::map<uint32_t, size_t> came;
    for (int step = 0; step < 600; ++step) {
      fake.shared.moves += moving ? 1 : 0;
      for (const Packet& packet : read()) ++came[packet.flow];
    }
    EXPECT_GT(came[1], 50u);
    EXPECT_GT(came[2], 50u);
  }
}

TEST_F(TunQueuePairTest, HasMoreAsLongAsItKeepsPackets) {
  put(true, {1, 0}, 1);
  for (uint32_t i = 0; i < 50; ++i) put(false, {2, i}, 1);
  ++fake.shared.moves;
  size_t found = read().size();
  // Reading on while there is more is all that a worker has to do.
  while (batch.more) found += read().size();
  while (fake.queues[queue.fd()].size() + fake.queues[sparse_fd].size() != 0) {
    found += read().size();
    while (batch.more) found += read().size();
  }
  EXPECT_EQ(found, 51u);
}

}  // namespace
}  // namespace culvert::tun
