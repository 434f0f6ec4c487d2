// What becomes of packets that waited on the inner side: CoDel's signals, by a clock of the test.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "src/packet/ecn.h"
#include "tests/pipeline/ends.h"

namespace culvert::pipeline {
namespace {

using protocol::Instant;
using std::chrono::milliseconds;
using test::Bytes;
using test::kStart;
using test::PacketSpec;

constexpr uint32_t kSegment = 1000, kSegments = 3;

class OutboundWaits : public testing::Test {
 protected:
  // A superpacket whose segments count up.
  void offer(uint32_t waited_us, uint8_t tos = packet::kEcnNotCapable, bool v6 = false) {
    PacketSpec spec;
    spec.v6 = v6;
    spec.tos = tos;
    spec.payload_bytes = kSegments * kSegment;
    spec.sequence = next_;
    next_ += kSegments * kSegment;
    left.inner.to_read.push_back(test::superpacket(spec, kSegment));
    left.inner.to_read.back().waited_us = waited_us;
  }

  void run(Instant at) {
    size_t read = 0;
    left.outbound.run(left.inner, &left.outer, at, read);
  }

  struct Segment {
    uint32_t sequence;
    uint8_t ecn;
  };

  std::vector<Segment> arrived() {
    test::carry(left, tunnel.right);
    tunnel.right.receive();
    std::vector<Segment> segments;
    for (const Bytes& packet : tunnel.right.inner.take_packets()) {
      const bool v6 = packet[0] >> 4 == 6;
      const size_t at = (v6 ? 40 : 20) + 4;
      const auto sequence =
          uint32_t{packet[at]} << 24 | uint32_t{packet[at + 1]} << 16 | uint32_t{packet[at + 2]} << 8 | packet[at + 3];
      segments.push_back({sequence, static_cast<uint8_t>((v6 ? packet[1] >> 4 : packet[1]) & packet::kEcnMask)});
    }
    return segments;
  }

  test::Tunnel tunnel;
  test::End& left = tunnel.left;
  uint32_t next_ = 0;
};

TEST_F(OutboundWaits, CountsPacketsByHowLongTheyWaited) {
  for (const uint32_t us : {0u, 1u, 999u, 1000u, 4999u, 5000u, 19'999u, 20'000u, 4'000'000'000u}) offer(us);
  run(kStart);
  EXPECT_EQ(left.stats.waits_below_1ms.get(), 2u);
  EXPECT_EQ(left.stats.waits_below_5ms.get(), 2u);
  EXPECT_EQ(left.stats.waits_below_20ms.get(), 2u);
  EXPECT_EQ(left.stats.waits_longer.get(), 2u);
}

// Against Codel itself, which has a test against the RFC's pseudo-code: which superpackets carry a signal.
TEST_F(OutboundWaits, MarksOrShortensWhatCodelPicksAndKeepsTheOrder) {
  std::mt19937 random(7);
  Codel model;
  Instant now = kStart;
  for (const bool v6 : {false, true})
    for (const bool ecn : {false, true}) {
      SCOPED_TRACE(testing::Message() << "v6 " << v6 << ", ECN " << ecn);
      size_t signals = 0;
      const uint64_t marked_before = left.stats.packets_marked.get(), lost_before = left.drops(DropReason::congestion);
      for (int ms = 0; ms < 600; ++ms, now += milliseconds(1)) {
        std::vector<Segment> expected;
        const uint32_t packets = 1 + random() % 3;
        for (uint32_t i = 0; i < packets; ++i) {
          const uint32_t wait = ms < 150 ? random() % 5000 : ms < 500 ? 5000 + random() % 30'000 : random() % 6000;
          const bool signal = wait != 0 && model.dequeue(std::chrono::microseconds(wait), false, now,
                                                         {milliseconds(5), milliseconds(100)});
          signals += signal;
          for (uint32_t s = signal && !ecn ? 1 : 0; s < kSegments; ++s)
            expected.push_back({next_ + s * kSegment, static_cast<uint8_t>(!ecn     ? packet::kEcnNotCapable
                                                                           : signal ? packet::kEcnCongestion
                                                                                    : packet::kEcnCapable0)});
          offer(wait, ecn ? packet::kEcnCapable0 : packet::kEcnNotCapable, v6);
        }
        run(now);
        const std::vector<Segment> got = arrived();
        ASSERT_EQ(got.size(), expected.size()) << ms;
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(got[i].sequence, expected[i].sequence) << ms;
          ASSERT_EQ(got[i].ecn, expected[i].ecn) << ms;
        }
      }
      EXPECT_GT(signals, 2u);
      EXPECT_EQ(left.stats.packets_marked.get() - marked_before, ecn ? signals : 0);
      EXPECT_EQ(left.drops(DropReason::congestion) - lost_before, ecn ? 0 : signals);
    }
}

TEST_F(OutboundWaits, LeavesAPacketAloneThatIsTheLastOne) {
  left.inner.left_behind = 0;
  for (int ms = 0; ms < 3000; ms += 10) {
    offer(50'000);
    run(kStart + milliseconds(ms));
  }
  EXPECT_EQ(test::drops_of(left), test::Drops());
  EXPECT_EQ(arrived().size(), 300 * kSegments);
}

TEST_F(OutboundWaits, DropsAPacketOfOneSegment) {
  for (int ms = 0; ms < 300; ++ms) {
    PacketSpec spec;
    left.inner.to_read.push_back(test::superpacket(spec));
    left.inner.to_read.back().waited_us = 10'000;
    run(kStart + milliseconds(ms));
  }
  const uint64_t lost = left.drops(DropReason::congestion);
  EXPECT_GT(lost, 1u);
  EXPECT_EQ(arrived().size(), 300 - lost);
}

TEST_F(OutboundWaits, LeavesWhatNobodyTimedAlone) {
  for (int ms = 0; ms < 1000; ++ms) {
    offer(0);
    run(kStart + milliseconds(ms));
  }
  EXPECT_EQ(arrived().size(), 1000 * kSegments);
}

}  // namespace
}  // namespace culvert::pipeline
