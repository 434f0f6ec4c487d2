#include "src/pipeline/train_builder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/packet/packets.h"
#include "tests/pipeline/peers.h"

namespace culvert::pipeline {
namespace {

using test::endpoint;
using test::TestPeer;

struct Append {
  int peer;
  uint8_t traffic_class;
  size_t bytes;
};

struct Train {
  int peer;
  uint8_t traffic_class;
  size_t segment_size;
  size_t datagrams;
  size_t bytes;

  bool operator==(const Train&) const = default;
};

struct Case {
  std::string name;
  std::vector<Append> appends;
  std::vector<Train> trains;
};

void PrintTo(const Train& train, std::ostream* out) {
  *out << "{peer " << train.peer << ", class " << int{train.traffic_class} << ", " << train.datagrams << " of "
       << train.segment_size << ", " << train.bytes << " bytes}";
}

std::vector<Append> repeat(size_t count, Append append) {
  return std::vector<Append>(count, append);
}

class TrainBuilderCases : public testing::TestWithParam<Case> {};

TEST_P(TrainBuilderCases, BuildsTheseTrains) {
  TestPeer peers[] = {TestPeer(0, "192.0.2.1:1"), TestPeer(1, "192.0.2.2:2")};
  TrainBuilder builder;
  std::string written;
  for (const Append& append : GetParam().appends) {
    uint8_t* const room = builder.append(peers[append.peer].path, peers[append.peer].path.endpoint.load(),
                                         append.traffic_class, append.bytes);
    ASSERT_NE(room, nullptr);
    const auto fill = static_cast<char>('a' + written.size() % 26);
    std::memset(room, fill, append.bytes);
    written.append(append.bytes, fill);
  }
  std::vector<Train> built;
  std::string trains;
  for (size_t i = 0; i < builder.trains().size(); ++i) {
    const io::OutgoingTrain& train = builder.trains()[i];
    const int peer = &builder.path_of(i) == &peers[1].path ? 1 : 0;
    EXPECT_EQ(train.to, peers[peer].path.endpoint.load());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(train.bytes) % 64, 0u);
    built.push_back({peer, train.traffic_class, train.segment_size, train.datagrams, train.length});
    trains.append(reinterpret_cast<const char*>(train.bytes), train.length);
  }
  EXPECT_EQ(built, GetParam().trains);
  EXPECT_EQ(trains, written);
}

const Case kCases[] = {
    {"datagrams of one size share a train", repeat(3, {0, 0, 1452}), {{0, 0, 1452, 3, 4356}}},
    {"a shorter one closes its train",
     {{0, 0, 1452}, {0, 0, 1452}, {0, 0, 100}, {0, 0, 100}},
     {{0, 0, 1452, 3, 3004}, {0, 0, 100, 1, 100}}},
    {"a longer one begins a train", {{0, 0, 100}, {0, 0, 101}}, {{0, 0, 100, 1, 100}, {0, 0, 101, 1, 101}}},
    {"another traffic class begins a train",
     {{0, 0, 100}, {0, 2, 100}, {0, 2, 100}, {0, 0, 100}},
     {{0, 0, 100, 1, 100}, {0, 2, 100, 2, 200}, {0, 0, 100, 1, 100}}},
    {"another peer begins a train",
     {{0, 0, 100}, {1, 0, 100}, {1, 0, 100}, {0, 0, 100}},
     {{0, 0, 100, 1, 100}, {1, 0, 100, 2, 200}, {0, 0, 100, 1, 100}}},
    {"a train has 128 datagrams at most", repeat(129, {0, 0, 48}), {{0, 0, 48, 128, 6144}, {0, 0, 48, 1, 48}}},
    {"a train is no longer than the kernel takes in one piece",
     repeat(46, {0, 0, 1452}),
     {{0, 0, 1452, 45, 65340}, {0, 0, 1452, 1, 1452}}},
    {"a train may be as long as that",
     {{0, 0, io::kMaxTrainBytes - 32}, {0, 0, 32}, {0, 0, 32}},
     {{0, 0, io::kMaxTrainBytes - 32, 2, io::kMaxTrainBytes}, {0, 0, 32, 1, 32}}},
    {"the longest datagram travels alone",
     repeat(2, {0, 0, TrainBuilder::kMaxDatagramBytes}),
     {{0, 0, 65507, 1, 65507}, {0, 0, 65507, 1, 65507}}},
};

INSTANTIATE_TEST_SUITE_P(Cases, TrainBuilderCases, testing::ValuesIn(kCases),
                         [](const auto& given) { return packet::test::identifier(given.param.name); });

TEST(TrainBuilder, SaysWhenItsArenaIsFullAndStartsAgain) {
  TestPeer peer(0, "192.0.2.1:1");
  TrainBuilder builder;
  for (int turn = 0; turn < 2; ++turn) {
    size_t bytes = 0;
    while (uint8_t* const room = builder.append(peer.path, peer.path.endpoint.load(), 0, 1452)) {
      std::memset(room, 0xff, 1452);
      bytes += 1452;
    }
    EXPECT_LE(bytes, TrainBuilder::kArenaBytes);
    EXPECT_GT(bytes, TrainBuilder::kArenaBytes - 2 * 1452);
    builder.clear();
    EXPECT_TRUE(builder.empty());
  }
  EXPECT_NE(builder.append(peer.path, peer.path.endpoint.load(), 0, TrainBuilder::kMaxDatagramBytes), nullptr);
}

TEST(TrainBuilder, HoldsSoManyTrainsAndNoMore) {
  TestPeer peers[] = {TestPeer(0, "192.0.2.1:1"), TestPeer(1, "192.0.2.2:2")};
  TrainBuilder builder;
  for (size_t i = 0; i < TrainBuilder::kMaxTrains; ++i)
    ASSERT_NE(builder.append(peers[i % 2].path, peers[i % 2].path.endpoint.load(), 0, 100), nullptr);
  EXPECT_EQ(builder.append(peers[0].path, peers[0].path.endpoint.load(), 0, 100), nullptr);
  EXPECT_NE(builder.append(peers[1].path, peers[1].path.endpoint.load(), 0, 100), nullptr) << "the last train is open";
}

TEST(TrainBuilder, AsksForNoGsoWhereThePathRefusedIt) {
  TestPeer peer(0, "192.0.2.1:1");
  peer.path.gso_refused = true;
  TrainBuilder builder;
  ASSERT_NE(builder.append(peer.path, peer.path.endpoint.load(), 0, 100), nullptr);
  EXPECT_FALSE(builder.trains()[0].allow_gso);
  builder.clear();
  peer.path.roam(endpoint("192.0.2.9:9"));
  ASSERT_NE(builder.append(peer.path, peer.path.endpoint.load(), 0, 100), nullptr);
  EXPECT_TRUE(builder.trains()[0].allow_gso) << "the peer moved";
  EXPECT_EQ(builder.trains()[0].to, endpoint("192.0.2.9:9"));
}

}  // namespace
}  // namespace culvert::pipeline
