#include "bench/traffic/stream_counts.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "bench/traffic/datagram.h"

namespace culvert::traffic {
namespace {

struct Part {
  uint32_t stream;
  uint32_t sequence;
  size_t bytes;
};

std::vector<uint8_t> message_of(const std::vector<Part>& parts, int64_t sent_ns = 0) {
  std::vector<uint8_t> message;
  for (const Part& part : parts) {
    const size_t at = message.size();
    message.resize(at + part.bytes);
    if (part.bytes < sizeof(DatagramHeader)) continue;
    write_header(message.data() + at, {part.stream, part.sequence, static_cast<uint64_t>(sent_ns)});
  }
  return message;
}

TEST(StreamCounts, CountsMessagesOfEveryShape) {
  struct Case {
    const char* name;
    std::vector<Part> parts;
    size_t segment_bytes;
    uint64_t datagrams, bytes, messages;
  };
  const std::vector<Case> cases = {
      {"a datagram", {{1, 0, 64}}, 0, 1, 64, 1},
      {"a datagram that is a header alone", {{1, 0, 16}}, 0, 1, 16, 1},
      {"a train", {{1, 0, 100}, {1, 1, 100}, {1, 2, 100}}, 100, 3, 300, 1},
      {"a train with a shorter last one", {{1, 0, 100}, {1, 1, 40}}, 100, 2, 140, 1},
      {"a train whose last one is too short for a header", {{1, 0, 100}, {1, 1, 15}}, 100, 1, 100, 1},
      {"a datagram that is too short", {{1, 0, 15}}, 0, 0, 0, 0},
      {"an empty datagram", {}, 0, 0, 0, 0},
      {"segments too short for headers", {{1, 0, 16}}, 8, 1, 8, 1},
  };
  for (const Case& c : cases) {
    StreamCounts counts;
    counts.record(message_of(c.parts), c.segment_bytes, 0);
    EXPECT_EQ(counts.datagrams(), c.datagrams) << c.name;
    EXPECT_EQ(counts.bytes(), c.bytes) << c.name;
    EXPECT_EQ(counts.messages(), c.messages) << c.name;
    EXPECT_EQ(counts.lost(), 0U) << c.name;
  }
}

TEST(StreamCounts, FollowsEachStreamForItself) {
  StreamCounts counts;
  for (uint32_t sequence = 0; sequence < 10; ++sequence) {
    counts.record(message_of({{1, sequence, 64}}), 0, 0);
    counts.record(message_of({{2, sequence * 2, 64}}), 0, 0);
  }
  EXPECT_EQ(counts.datagrams(), 20U);
  EXPECT_EQ(counts.lost(), 9U);
  EXPECT_EQ(counts.reordered() + counts.duplicates(), 0U);
}

TEST(StreamCounts, ResetDoesNotChargeForWhatWasBefore) {
  StreamCounts counts;
  counts.record(message_of({{1, 500, 64}}), 0, 10);
  counts.reset();
  EXPECT_EQ(counts.datagrams() + counts.bytes() + counts.messages() + counts.lost(), 0U);
  EXPECT_EQ(counts.duration_ns(), 0);
  counts.record(message_of({{1, 501, 64}}), 0, 20);
  EXPECT_EQ(counts.lost(), 0U);
  // A stream that stood still between two resets starts anew.
  counts.reset();
  counts.reset();
  counts.record(message_of({{1, 0, 64}}), 0, 30);
  EXPECT_EQ(counts.reordered() + counts.lost(), 0U);
}

TEST(StreamCounts, MeasuresTimes) {
  StreamCounts counts;
  counts.record(message_of({{1, 0, 64}}, 1000), 0, 4000);
  counts.record(message_of({{1, 1, 64}}, 5000), 0, 6000);
  EXPECT_EQ(counts.duration_ns(), 2000);
  EXPECT_DOUBLE_EQ(counts.mean_delay_us(), 2);
  EXPECT_DOUBLE_EQ(counts.max_delay_us(), 3);
}

TEST(StreamCounts, MoreStreamsThanItFollowsAreStillCounted) {
  StreamCounts counts;
  constexpr uint32_t kStreams = StreamCounts::kMaxStreams + 100;
  for (uint32_t stream = 0; stream < kStreams; ++stream) counts.record(message_of({{stream, 0, 16}}), 0, 0);
  EXPECT_EQ(counts.datagrams(), kStreams);
}

}  // namespace
}  // namespace culvert::traffic
