// Reading and writing batches by either engine, with system calls that do what a case says.
#include "tun/tun_queue.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <deque>

#include "io/uring/ring_transfer.h"
#include "src/packet/coalesce.h"
#include "tests/io/fake_ring.h"
#include "tests/packet/coalescing.h"
#include "tests/packet/packets.h"

namespace culvert::tun {
namespace {

using io::GsoType;
using io::ReadOutcome;
using packet::test::add_to;
using packet::test::Bytes;
using packet::test::make_packet;
using packet::test::PacketSpec;

constexpr io::InnerOffloads kAll = {true, true, true, true, true};

// The device: what the next reads give, and what was written.
struct FakeDevice {
  struct Answer {
    int error = 0;
    Bytes bytes;
  };
  std::deque<Answer> reads;
  std::deque<int> write_errors;  // for the next writes, 0: taken
  bool refuses_superpackets = false;
  bool refuses_checksums = false;
  std::vector<Bytes> writes;
  int write_calls = 0;
  int polls = 0;
  int poll_answer = 0;
};
FakeDevice* device = nullptr;

ssize_t fake_read(int, void* bytes, size_t length) {
  if (device->reads.empty()) {
    errno = EAGAIN;
    return -1;
  }
  const FakeDevice::Answer answer = device->reads.front();
  device->reads.pop_front();
  errno = answer.error;
  if (answer.error != 0) return -1;
  const size_t got = std::min(length, answer.bytes.size());
  std::copy_n(answer.bytes.begin(), got, static_cast<uint8_t*>(bytes));
  return static_cast<ssize_t>(got);
}

ssize_t fake_writev(int, const iovec* parts, int count) {
  device->write_calls++;
  Bytes whole;
  for (int i = 0; i < count; ++i) {
    const auto* const bytes = static_cast<const uint8_t*>(parts[i].iov_base);
    whole.insert(whole.end(), bytes, bytes + parts[i].iov_len);
  }
  if (!device->write_errors.empty()) {
    errno = device->write_errors.front();
    device->write_errors.pop_front();
    if (errno != 0) return -1;
  }
  if ((device->refuses_superpackets && whole[1] != 0) || (device->refuses_checksums && whole[0] != 0)) {
    errno = EINVAL;
    return -1;
  }
  device->writes.push_back(whole);
  return static_cast<ssize_t>(whole.size());
}

int fake_poll(pollfd*, nfds_t, int) {
  device->polls++;
  return device->poll_answer;
}

constexpr io::Syscalls kFakes = {.read = fake_read, .writev = fake_writev, .poll = fake_poll};

Bytes with_header(const Bytes& header, const Bytes& packet) {
  Bytes whole = header;
  whole.resize(10);
  whole.insert(whole.end(), packet.begin(), packet.end());
  return whole;
}

// A train of one flow, coalesced; kept alive for the writing.
struct Train {
  explicit Train(bool tcp = true, size_t count = 5) {
    PacketSpec spec;
    spec.tcp = tcp;
    for (size_t i = 0; i < count; ++i) {
      packets.push_back(make_packet(spec));
      spec.sequence += 100;
      spec.id++;
    }
    original = packets;
    for (Bytes& packet : packets) add_to(coalescer, packet, kAll);
  }
  std::vector<Bytes> packets, original;
  packet::Coalescer coalescer;
};

// The same device behind a ring.
int answer_entry(io::Ring::Operation operation, mmsghdr& message) {
  const msghdr& header = message.msg_hdr;
  const ssize_t result = operation == io::Ring::Operation::read
                             ? fake_read(-1, header.msg_iov->iov_base, header.msg_iov->iov_len)
                             : fake_writev(-1, header.msg_iov, static_cast<int>(header.msg_iovlen));
  return result < 0 ? -errno : static_cast<int>(result);
}

class TunQueueTest : public testing::TestWithParam<io::Engine> {
 protected:
  static std::unique_ptr<io::Transfer> transfer() {
    if (GetParam() == io::Engine::epoll) return nullptr;
    return std::make_unique<io::RingTransfer>(std::make_unique<io::FakeRing>(answer_entry),
                                              io::RingTransfer::For::packet_devices);
  }

  void SetUp() override { device = &fake; }
  ReadOutcome read(TunQueue& from) {
    from.release(batch);
    const ReadOutcome outcome = from.read(batch);
    count = batch.count;
    return outcome;
  }

  FakeDevice fake;
  TunQueue queue{io::Fd(), true, kAll, kFakes, transfer()};
  TunQueue plain{io::Fd(), false, kAll, kFakes, transfer()};
  io::PlainBatch batch;
  const std::array<io::Superpacket, io::PlainBatch::kMaxPackets>& packets = batch.packets;
  size_t count = 0;
};

TEST_P(TunQueueTest, ReadsWhatIsThereWithWhatTheVirtioHeaderSays) {
  const Bytes packet = make_packet(PacketSpec{});
  fake.reads.push_back({0, with_header({1, 1, 40, 0, 100, 0, 20, 0, 16, 0}, packet)});
  fake.reads.push_back({EINTR, {}});
  fake.reads.push_back({0, with_header({0}, packet)});
  fake.reads.push_back({0, with_header({1, 0x84, 1, 0, 2, 0, 3, 0, 4, 0}, packet)});
  fake.reads.push_back({0, with_header({1, 5}, packet)});
  ASSERT_EQ(read(queue), ReadOutcome::ok);
  ASSERT_EQ(count, 4u);
  EXPECT_EQ(Bytes(packets[0].bytes, packets[0].bytes + packets[0].length), packet);
  EXPECT_EQ(packets[0].offload.gso, GsoType::tcp);
  EXPECT_TRUE(packets[0].offload.needs_checksum);
  EXPECT_EQ(packets[0].offload.header_length, 40);
  EXPECT_EQ(packets[0].offload.gso_size, 100);
  EXPECT_EQ(packets[0].offload.checksum_start, 20);
  EXPECT_EQ(packets[0].offload.checksum_offset, 16);
  EXPECT_EQ(packets[1].offload.gso, GsoType::none);
  EXPECT_FALSE(packets[1].offload.needs_checksum);
  EXPECT_EQ(packets[2].offload.gso, GsoType::tcp) << "ECN is no type of its own";
  EXPECT_EQ(packets[3].offload.gso, GsoType::udp);
  EXPECT_EQ(queue.counters().read_packets.get(), 4u);
  EXPECT_EQ(queue.counters().read_bytes.get(), 4 * packet.size());
  for (size_t i = 0; i < count; ++i) std::fill_n(packets[i].bytes + packets[i].length, io::kTailroom, uint8_t{0});
}

TEST_P(TunQueueTest, ReadsPlainPacketsWhereThereIsNoVirtioHeader) {
  const Bytes packet = make_packet(PacketSpec{});
  fake.reads.push_back({0, packet});
  ASSERT_EQ(read(plain), ReadOutcome::ok);
  ASSERT_EQ(count, 1u);
  EXPECT_EQ(Bytes(packets[0].bytes, packets[0].bytes + packets[0].length), packet);
}

TEST_P(TunQueueTest, LeavesTailroomBehindTheLargestPacket) {
  for (int i = 0; i < 3; ++i) fake.reads.push_back({0, with_header({0}, Bytes(65535, 0x45))});
  ASSERT_EQ(read(queue), ReadOutcome::ok);
  ASSERT_EQ(count, 3u);
  for (size_t i = 0; i < count; ++i) {
    ASSERT_EQ(packets[i].length, 65535u);
    std::fill_n(packets[i].bytes + 65535, io::kTailroom, uint8_t{0});
  }
  EXPECT_EQ(packets[1].bytes[0], 0x45);
}

TEST_P(TunQueueTest, RefusesAndCountsWhatIsNoPacket) {
  fake.reads.push_back({0, with_header({0}, {})});
  fake.reads.push_back({0, {1, 2, 3}});
  fake.reads.push_back({0, with_header({0, 3}, Bytes(100, 0x45))});     // UFO
  fake.reads.push_back({0, with_header({0, 0x25}, Bytes(100, 0x45))});  // a UDP tunnel
  fake.reads.push_back({0, with_header({0}, Bytes(65536, 0x45))});
  fake.reads.push_back({0, with_header({0}, Bytes(1, 0x45))});
  ASSERT_EQ(read(queue), ReadOutcome::ok);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(queue.counters().read_refused.get(), 5u);
}

TEST_P(TunQueueTest, ReturnsAlthoughOnlyRefusedPacketsKeepComing) {
  for (int i = 0; i < 1000; ++i) fake.reads.push_back({0, {}});
  ASSERT_EQ(read(queue), ReadOutcome::ok);
  EXPECT_EQ(count, 0u);
  EXPECT_GT(fake.reads.size(), 900u);
}

TEST_P(TunQueueTest, StopsAtItsSlotsOr256KiB) {
  for (int i = 0; i < 100; ++i) fake.reads.push_back({0, with_header({0}, Bytes(100, 0x45))});
  read(queue);
  EXPECT_EQ(count, TunQueue::kReadSlots);
  fake.reads.clear();
  for (int i = 0; i < 100; ++i) fake.reads.push_back({0, with_header({0}, Bytes(64000, 0x45))});
  // How long packets are, a ring knows from the batch before.
  if (queue.engine() == io::Engine::io_uring) read(queue);
  read(queue);
  EXPECT_EQ(count, 5u);
}

TEST_P(TunQueueTest, TellsDownFromGoneAndFromNothingThere) {
  fake.reads.push_back({EIO, {}});
  EXPECT_EQ(read(queue), ReadOutcome::down);
  fake.reads.push_back({EBADFD, {}});
  EXPECT_EQ(read(queue), ReadOutcome::gone);
  EXPECT_EQ(read(queue), ReadOutcome::ok);
  EXPECT_EQ(count, 0u);
}

TEST_P(TunQueueTest, HandsOverWhatItReadBeforeTheDeviceWent) {
  fake.reads.push_back({0, with_header({0}, Bytes(100, 0x45))});
  fake.reads.push_back({EBADFD, {}});
  EXPECT_EQ(read(queue), ReadOutcome::ok);
  EXPECT_EQ(count, 1u);
}

TEST_P(TunQueueTest, WritesASuperpacketInOneCall) {
  Train train;
  EXPECT_EQ(queue.write(train.coalescer.finish()), 1u);
  ASSERT_EQ(fake.writes.size(), 1u);
  EXPECT_EQ(Bytes(fake.writes[0].begin(), fake.writes[0].begin() + 10), (Bytes{1, 1, 40, 0, 100, 0, 20, 0, 16, 0}));
  EXPECT_EQ(fake.writes[0].size(), 10u + 40 + 500);
  EXPECT_EQ(queue.counters().written_packets.get(), 1u);
  EXPECT_EQ(queue.counters().written_bytes.get(), 540u);
}

TEST_P(TunQueueTest, EndsAnOffloadThatIsRefusedAndWritesSegmentsInstead) {
  fake.refuses_superpackets = true;
  for (int round = 0; round < 3; ++round) {
    fake.writes.clear();
    fake.write_calls = 0;
    Train train;
    EXPECT_EQ(queue.write(train.coalescer.finish()), 1u);
    EXPECT_EQ(fake.write_calls, round == 0 ? 6 : 5);
    ASSERT_EQ(fake.writes.size(), 5u);
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(fake.writes[i], with_header({}, train.original[i]));
  }
  EXPECT_FALSE(queue.offloads().tcp4);
  EXPECT_TRUE(queue.offloads().udp4);
  EXPECT_TRUE(queue.offloads().checksum);
  EXPECT_EQ(queue.counters().offload_refusals.get(), 1u);
  EXPECT_EQ(queue.counters().segmented_writes.get(), 3u);
  EXPECT_EQ(queue.counters().write_dropped.get(), 0u);
}

TEST_P(TunQueueTest, FinishesChecksumsItselfOnceTheyAreRefused) {
  fake.refuses_checksums = true;
  Bytes packet = make_packet(PacketSpec{});
  const Bytes finished = packet;
  unsigned pseudo = packet::test::naive_checksum(std::span(packet).subspan(12, 8), 6 + 120);
  packet::test::put16(packet, 36, pseudo);
  const iovec part{packet.data(), packet.size()};
  io::GatheredPacket gathered;
  gathered.parts = {&part, 1};
  gathered.length = static_cast<uint32_t>(packet.size());
  gathered.offload.needs_checksum = true;
  gathered.offload.checksum_start = 20;
  gathered.offload.checksum_offset = 16;
  EXPECT_EQ(queue.write({&gathered, 1}), 1u);
  EXPECT_EQ(fake.writes, std::vector<Bytes>{with_header({}, finished)});
  EXPECT_FALSE(queue.offloads().checksum);
}

TEST_P(TunQueueTest, WithoutVirtioHeaderOffersNothingAndWritesSegments) {
  EXPECT_FALSE(plain.offloads().tcp4);
  EXPECT_FALSE(plain.offloads().checksum);
  Train train(false);
  EXPECT_EQ(plain.write(train.coalescer.finish()), 1u);
  EXPECT_EQ(fake.writes, train.original);
}

TEST_P(TunQueueTest, DropsAPacketThatIsRefusedAndGoesOn) {
  Train train(true, 1);
  const auto one = train.coalescer.finish()[0];
  const io::GatheredPacket three[] = {one, one, one};
  for (const int error : {EINVAL, ENOMEM, EFAULT}) {
    fake.write_errors = {0, error, 0};
    EXPECT_EQ(queue.write(three), 2u);
  }
  EXPECT_EQ(queue.counters().write_dropped.get(), 3u);
  EXPECT_EQ(queue.counters().write_full.get(), 1u);
  EXPECT_TRUE(queue.offloads().tcp4);
}

TEST_P(TunQueueTest, GivesABatchUpWhenTheInterfaceIsDownOrGone) {
  Train train(true, 1);
  const auto one = train.coalescer.finish()[0];
  const io::GatheredPacket three[] = {one, one, one};
  for (const int error : {EIO, EBADFD}) {
    fake.write_errors = {0, error};
    fake.write_calls = 0;
    EXPECT_EQ(queue.write(three), 1u);
    EXPECT_EQ(fake.write_calls, 2);
  }
  EXPECT_EQ(queue.counters().write_dropped.get(), 4u);
  EXPECT_EQ(queue.counters().write_down.get(), 4u);
}

TEST_P(TunQueueTest, WaitsForRoomOnceABatch) {
  Train train(true, 1);
  const auto one = train.coalescer.finish()[0];
  const io::GatheredPacket three[] = {one, one, one};
  fake.poll_answer = 1;
  fake.write_errors = {EAGAIN, 0, 0, 0};
  EXPECT_EQ(queue.write(three), 3u);
  fake.poll_answer = 0;
  fake.write_errors = {EAGAIN, EAGAIN, EAGAIN};
  EXPECT_EQ(queue.write(three), 0u);
  EXPECT_EQ(fake.polls, 2);
  EXPECT_EQ(queue.counters().write_full.get(), 3u);
}

TEST_P(TunQueueTest, DropsPacketsThatCannotBeWritten) {
  std::vector<iovec> parts(1024);
  Bytes packet = make_packet(PacketSpec{});
  parts[0] = {packet.data(), packet.size()};
  io::GatheredPacket none, empty, scattered, huge;
  empty.parts = {&parts[1], 1};
  scattered.parts = parts;
  huge.parts = {parts.data(), 1};
  huge.length = 65536;
  const io::GatheredPacket all[] = {none, empty, scattered, huge};
  EXPECT_EQ(queue.write(all), 0u);
  EXPECT_EQ(fake.write_calls, 0);
  EXPECT_EQ(queue.counters().write_dropped.get(), 4u);
}

TEST_P(TunQueueTest, WritesManyPacketsInOrderWhateverIsRefusedBetween) {
  fake.refuses_superpackets = true;
  std::vector<Bytes> expected;
  std::vector<Train> trains(40);
  std::vector<Bytes> plain_packets(40, make_packet(PacketSpec{}));
  std::vector<iovec> parts(40);
  std::vector<io::GatheredPacket> gathered;
  for (size_t i = 0; i < trains.size(); ++i) {
    if (i % 7 == 3) {
      gathered.push_back(trains[i].coalescer.finish()[0]);
      for (const Bytes& packet : trains[i].original) expected.push_back(with_header({}, packet));
      continue;
    }
    plain_packets[i].back() = static_cast<uint8_t>(i);
    parts[i] = {plain_packets[i].data(), plain_packets[i].size()};
    gathered.emplace_back().parts = {&parts[i], 1};
    gathered.back().length = static_cast<uint32_t>(plain_packets[i].size());
    expected.push_back(with_header({}, plain_packets[i]));
  }
  EXPECT_EQ(queue.write(gathered), gathered.size());
  EXPECT_EQ(fake.writes, expected);
  EXPECT_EQ(queue.counters().offload_refusals.get(), 1u);
  EXPECT_EQ(queue.counters().segmented_writes.get(), 6u);
}

TEST_P(TunQueueTest, DropsSegmentsThatAreRefusedAndWritesTheOthers) {
  fake.refuses_superpackets = true;
  fake.write_errors = {0, 0, EINVAL, ENOMEM, 0};
  Train first, train;
  EXPECT_EQ(queue.write(first.coalescer.finish()), 0u);
  EXPECT_EQ(fake.writes.size(), 3u);
  EXPECT_EQ(queue.counters().write_dropped.get(), 1u);
  EXPECT_EQ(queue.counters().write_full.get(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Engines, TunQueueTest, testing::Values(io::Engine::epoll, io::Engine::io_uring),
                         [](const auto& engine) { return std::string(engine_name(engine.param)); });

}  // namespace
}  // namespace culvert::tun
