#include "io/train_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace culvert::io {
namespace {

struct Add {
  uint16_t destination;
  uint32_t bytes;
};

struct Train {
  uint16_t destination;
  size_t segment_size;
  size_t datagrams;
  size_t bytes;

  bool operator==(const Train&) const = default;
};

struct Case {
  std::string name;
  std::vector<Add> datagrams;
  std::vector<Train> trains;
};

void PrintTo(const Train& train, std::ostream* out) {
  *out << "{to " << train.destination << ", " << train.datagrams << " of " << train.segment_size << ", " << train.bytes
       << " bytes}";
}

std::vector<Add> repeat(size_t count, std::initializer_list<Add> adds) {
  std::vector<Add> all;
  for (size_t i = 0; i < count; ++i)
    for (const Add& add : adds) all.push_back(add);
  return all;
}

std::unique_ptr<Sending> batch_of(const std::vector<Add>& datagrams) {
  auto batch = std::make_unique<Sending>();
  for (const Add& add : datagrams) {
    Outgoing& out = batch->datagrams.at(batch->count++);
    out.length = add.bytes;
    out.destination = add.destination;
    batch->destination_count = std::max<uint32_t>(batch->destination_count, add.destination + 1u);
  }
  return batch;
}

class TrainLayoutCases : public testing::TestWithParam<Case> {};

TEST_P(TrainLayoutCases, MakesTheseTrains) {
  const auto batch = batch_of(GetParam().datagrams);
  TrainLayout layout;
  for (int turn = 0; turn < 2; ++turn) {
    layout.lay_out(*batch);
    std::vector<std::string> written(batch->destination_count), sent(batch->destination_count);
    for (uint32_t i = 0; i < batch->count; ++i) {
      const Outgoing& out = batch->datagrams[i];
      std::memset(out.bytes, static_cast<int>('a' + i % 26), out.length);
      written[out.destination].append(out.length, static_cast<char>('a' + i % 26));
    }
    std::vector<Train> made;
    for (const OutgoingTrain& train : layout.trains()) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(train.bytes) % 64, 0u);
      made.push_back({train.destination, train.segment_size, train.datagrams, train.length});
      sent[train.destination].append(reinterpret_cast<const char*>(train.bytes), train.length);
    }
    EXPECT_EQ(made, GetParam().trains);
    EXPECT_EQ(sent, written);
  }
}

const Case kCases[] = {
    {"DatagramsOfOneSizeShareATrain", repeat(3, {{0, 1452}}), {{0, 1452, 3, 4356}}},
    {"AShorterOneClosesItsTrain", {{0, 1452}, {0, 1452}, {0, 100}, {0, 100}}, {{0, 1452, 3, 3004}, {0, 100, 1, 100}}},
    {"ALongerOneBeginsATrain", {{0, 100}, {0, 101}}, {{0, 100, 1, 100}, {0, 101, 1, 101}}},
    {"DestinationsByTurnsHaveATrainEach", repeat(2, {{0, 100}, {1, 200}}), {{0, 100, 2, 200}, {1, 200, 2, 400}}},
    {"ManyDestinationsByTurnsHaveATrainEach",
     repeat(60, {{0, 100}, {1, 200}, {2, 300}}),
     {{0, 100, 60, 6000}, {1, 200, 60, 12000}, {2, 300, 60, 18000}}},
    {"AShortEndClosesOnlyItsOwnTrain",
     {{0, 100}, {1, 100}, {0, 50}, {1, 100}, {0, 100}, {1, 100}},
     {{0, 100, 2, 150}, {1, 100, 3, 300}, {0, 100, 1, 100}}},
    {"ATrainHas128DatagramsAtMost", repeat(129, {{0, 48}}), {{0, 48, 128, 6144}, {0, 48, 1, 48}}},
    {"ATrainIsNoLongerThanTheKernelTakesInOnePiece",
     repeat(46, {{0, 1452}}),
     {{0, 1452, 45, 65340}, {0, 1452, 1, 1452}}},
    {"ATrainMayBeAsLongAsThat",
     {{0, kMaxTrainBytes - 32}, {0, 32}, {0, 32}},
     {{0, kMaxTrainBytes - 32, 2, kMaxTrainBytes}, {0, 32, 1, 32}}},
    {"TheLongestDatagramTravelsAlone",
     repeat(2, {{0, Outgoing::kMaxBytes}}),
     {{0, 65507, 1, 65507}, {0, 65507, 1, 65507}}},
    {"NothingIsNoTrain", {}, {}},
};

INSTANTIATE_TEST_SUITE_P(Cases, TrainLayoutCases, testing::ValuesIn(kCases),
                         [](const auto& given) { return given.param.name; });

TEST(TrainLayout, HoldsAFullBatchOfAnyShape) {
  TrainLayout layout;
  for (const uint16_t destinations : {1, 2, 256}) {
    std::vector<Add> adds;
    for (size_t i = 0; i < Sending::kMaxDatagrams; ++i)
      adds.push_back({static_cast<uint16_t>(i % destinations), static_cast<uint32_t>(1000 + i / 2)});
    const auto batch = batch_of(adds);
    layout.lay_out(*batch);
    for (uint32_t i = 0; i < batch->count; ++i) std::memset(batch->datagrams[i].bytes, 1, batch->datagrams[i].length);
  }
  const auto long_ones = batch_of(repeat(10, {{0, Sending::kMaxBytes / 10}}));
  layout.lay_out(*long_ones);
  for (uint32_t i = 0; i < long_ones->count; ++i)
    std::memset(long_ones->datagrams[i].bytes, 1, Sending::kMaxBytes / 10);
}

TEST(TrainLayout, TellsWhichDatagramsWereLost) {
  const auto batch = batch_of(repeat(3, {{0, 100}, {1, 100}}));
  TrainLayout layout;
  layout.lay_out(*batch);
  layout.trains()[0].lost.set(1);
  layout.trains()[1].lost.set(0).set(2);
  layout.report_lost(*batch);
  std::vector<bool> lost;
  for (uint32_t i = 0; i < batch->count; ++i) lost.push_back(batch->datagrams[i].lost);
  EXPECT_EQ(lost, (std::vector<bool>{false, true, true, false, false, true}));
  EXPECT_EQ(batch->lost, 3u);
}

}  // namespace
}  // namespace culvert::io
