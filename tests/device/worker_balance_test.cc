#include "src/device/worker_balance.h"

#include <gtest/gtest.h>

namespace culvert::device {
namespace {

using protocol::Duration;

constexpr size_t kAll = 8;

// A period in which `workers` ran and waited alike, each so much of the time, and carried so many messages.
WorkerLoad load(size_t workers, double ran, double waited, uint64_t messages = 1000) {
  const auto part = [](double share) { return std::chrono::duration_cast<Duration>(share * WorkerBalance::kPeriod); };
  const auto count = static_cast<double>(workers);
  return {WorkerBalance::kPeriod, part(count * ran), part(count * waited), part(ran), part(1 - ran - waited), messages};
}

// Workers that do what they are advised, with loads that the test chooses.
class WorkerBalanceTest : public testing::Test {
 protected:
  size_t look(const WorkerLoad& seen) { return serving_ = balance_.advise(serving_, kAll, seen); }
  // The looks until the number changes.
  template <typename Load>
  size_t looks_until_change(Load&& seen) {
    const size_t before = serving_;
    size_t looks = 1;
    while (look(seen()) == before && looks < 10'000) ++looks;
    return looks;
  }
  // Until the trial that is under way has ended.
  template <typename Load>
  void end_trial(Load&& seen) {
    for (size_t i = 0; i <= WorkerBalance::kTrialLooks; ++i) look(seen());
  }

  WorkerBalance balance_;
  size_t serving_ = kAll;
};

TEST_F(WorkerBalanceTest, KeepsAllWhereProcessorsAreFree) {
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(look(load(kAll, 0.1, 0.01)), kAll);
}

TEST_F(WorkerBalanceTest, KeepsAllThatTheLoadNeeds) {
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(look(load(kAll, 0.85, 0.1)), kAll);
}

TEST_F(WorkerBalanceTest, LetsAsFewServeAsCarryTheLoadWhereWorkersWaitForProcessors) {
  EXPECT_EQ(looks_until_change([] { return load(kAll, 0.2, 0.2); }), WorkerBalance::kLeastPatience);
  EXPECT_EQ(serving_, 2u) << "1.6 processors, of which a worker can have nine tenths";
}

TEST_F(WorkerBalanceTest, WantsToSeeItSeveralTimesInARow) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(look(load(kAll, 0.2, 0.2)), kAll);
    ASSERT_EQ(look(load(kAll, 0.2, 0.01)), kAll);
  }
}

TEST_F(WorkerBalanceTest, TakesFewerBackWhenTheyCarryLessAndHaveNoRest) {
  looks_until_change([] { return load(kAll, 0.1, 0.1, 1000); });
  ASSERT_EQ(serving_, 1u);
  end_trial([] { return load(1, 0.5, 0.5, 800); });
  EXPECT_EQ(serving_, kAll);
}

TEST_F(WorkerBalanceTest, KeepsFewerThatCarryAsMuch) {
  looks_until_change([] { return load(kAll, 0.1, 0.1, 1000); });
  end_trial([] { return load(1, 0.7, 0.29, 950); });
  EXPECT_EQ(serving_, 1u);
}

TEST_F(WorkerBalanceTest, KeepsFewerWhenThereIsLessToCarry) {
  looks_until_change([] { return load(kAll, 0.1, 0.1, 1000); });
  end_trial([] { return load(1, 0.3, 0.1, 300); });
  EXPECT_EQ(serving_, 1u);
}

TEST_F(WorkerBalanceTest, LetsAllServeWhenOneHasAProcessorForItselfAndThatIsNotEnough) {
  serving_ = 1;
  EXPECT_EQ(looks_until_change([] { return load(1, 0.95, 0.01, 1000); }), WorkerBalance::kLeastPatience);
  EXPECT_EQ(serving_, kAll);
  end_trial([] { return load(kAll, 0.3, 0.01, 2500); });
  EXPECT_EQ(serving_, kAll);
}

TEST_F(WorkerBalanceTest, TriesMoreWhereOneThatSharesItsProcessorNeverRests) {
  serving_ = 1;
  EXPECT_EQ(looks_until_change([] { return load(1, 0.6, 0.4, 1000); }),
            WorkerBalance::kDoubt * WorkerBalance::kLeastPatience);
  EXPECT_EQ(serving_, 2u);
  end_trial([] { return load(2, 0.6, 0.2, 1900); });
  EXPECT_EQ(serving_, 2u);
}

TEST_F(WorkerBalanceTest, TakesMoreBackThatCarryNoMore) {
  serving_ = 1;
  looks_until_change([] { return load(1, 0.6, 0.4, 1000); });
  end_trial([] { return load(2, 0.3, 0.2, 1050); });
  EXPECT_EQ(serving_, 1u);
}

TEST_F(WorkerBalanceTest, WantsALoadToBeSteadyForTwiceAsLongAfterEachChange) {
  size_t before = 0;
  for (int i = 0; i < 3; ++i) {
    serving_ = 1;
    const size_t looks = looks_until_change([] { return load(1, 0.6, 0.4, 1000); });
    if (i > 0) EXPECT_EQ(looks, 4 * before) << "there and back are two changes";
    before = looks;
    end_trial([] { return load(2, 0.3, 0.2, 1000); });
    ASSERT_EQ(serving_, 1u);
  }
}

TEST_F(WorkerBalanceTest, ForgetsChangesAfterAWhile) {
  serving_ = 1;
  looks_until_change([] { return load(1, 0.6, 0.4, 1000); });
  end_trial([] { return load(2, 0.3, 0.2, 1000); });
  for (size_t i = 0; i < 2 * WorkerBalance::kMemory; ++i) ASSERT_EQ(look(load(1, 0.5, 0.1)), 1u);
  EXPECT_EQ(looks_until_change([] { return load(1, 0.6, 0.4, 1000); }),
            WorkerBalance::kDoubt * WorkerBalance::kLeastPatience);
}

TEST_F(WorkerBalanceTest, BeginsAnewAfterAPauseOfTheTraffic) {
  WorkerLoad pause = load(kAll, 0.2, 0.2);
  pause.elapsed = std::chrono::seconds(5);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(look(load(kAll, 0.2, 0.2)), kAll);
    ASSERT_EQ(look(pause), kAll);
  }
  serving_ = 1;
  looks_until_change([] { return load(1, 0.6, 0.4); });
  EXPECT_EQ(look(pause), 1u) << "a trial of more that was not judged";
}

TEST_F(WorkerBalanceTest, TellsNothingWhereTheKernelDoesNotTellWhatRan) {
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(look(load(kAll, 0, 0)), kAll);
}

}  // namespace
}  // namespace culvert::device
