#include "src/pipeline/codel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace culvert::pipeline {
namespace {

using protocol::Duration;
using protocol::Instant;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Codel::Limits kLimits{milliseconds(5), milliseconds(100)};

// The pseudo-code of RFC 8289, section 5, with numbers for times (ns; 0: not set) and "drop, then go on with the next
// packet" made "signal".
struct Model {
  double first_above = 0, drop_next = 0;
  uint32_t count = 0, last_count = 0;
  bool dropping = false;
  static constexpr double kTarget = 5e6, kInterval = 1e8;

  double control_law(double t) const { return t + std::floor(kInterval / std::sqrt(count)); }
  bool ok_to_drop(double sojourn, bool last, double now) {
    if (sojourn < kTarget || last)
      first_above = 0;
    else if (first_above == 0)
      first_above = now + kInterval;
    else if (now >= first_above)
      return true;
    return false;
  }
  bool dequeue(double sojourn, bool last, double now) {
    const bool ok = ok_to_drop(sojourn, last, now);
    if (dropping) {
      if (!ok) dropping = false;
      if (!dropping || now < drop_next) return false;
      ++count;
      drop_next = control_law(drop_next);
      return true;
    }
    if (!ok) return false;
    dropping = true;
    const uint32_t delta = count - last_count;
    count = delta > 1 && now - drop_next < 16 * kInterval ? delta : 1;
    drop_next = control_law(now);
    last_count = count;
    return true;
  }
};

int64_t ns_of(Instant at) {
  return at.time_since_epoch().count();
}

TEST(Codel, DoesAsThePseudoCodeOfTheRfc) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    Codel codel;
    Model model;
    Instant now{std::chrono::hours(1)};
    size_t signals = 0;
    for (int phase = 0; phase < 40; ++phase) {
      // For a while the queue stands, is short, or changes; now and then nothing comes for long.
      const auto most = std::chrono::milliseconds(phase % 4 == 0 ? 4 : phase % 4 == 1 ? 20 : 7);
      const auto least = phase % 4 == 1 ? milliseconds(5) : milliseconds(0);
      if (random() % 8 == 0) now += std::chrono::seconds(random() % 4);
      for (int i = 0; i < 2000; ++i) {
        now += microseconds(random() % 400);
        const Duration sojourn =
            least + microseconds(random() % static_cast<uint32_t>(microseconds(most - least).count()));
        const bool last = random() % 4000 == 0;
        const bool expected =
            model.dequeue(static_cast<double>(sojourn.count()), last, static_cast<double>(ns_of(now)));
        ASSERT_EQ(codel.dequeue(sojourn, last, now, kLimits), expected) << "seed " << seed << ", phase " << phase;
        signals += expected;
      }
    }
    EXPECT_GT(signals, 20u);
  }
}

TEST(Codel, LeavesAShortQueueAlone) {
  struct Case {
    const char* name;
    Duration sojourn;
    bool last;
  };
  const Case cases[] = {{"below the target", milliseconds(5) - microseconds(1), false},
                        {"one packet that waited long", milliseconds(500), true}};
  for (const Case& c : cases) {
    Codel codel;
    for (int ms = 0; ms < 5000; ++ms)
      ASSERT_FALSE(codel.dequeue(c.sojourn, c.last, Instant(milliseconds(ms)), kLimits)) << c.name;
  }
}

TEST(Codel, SignalsAfterAnIntervalAndThenMoreAndMoreOften) {
  Codel codel;
  std::vector<int64_t> at;
  for (int ms = 1; ms <= 1000; ++ms)
    if (codel.dequeue(milliseconds(10), false, Instant(milliseconds(ms)), kLimits)) at.push_back(ms);
  // 101, and then 100/sqrt(1), 100/sqrt(2) ... later.
  const std::vector<int64_t> begin(at.begin(), at.begin() + 5);
  EXPECT_EQ(begin, (std::vector<int64_t>{101, 201, 272, 330, 380}));
}

}  // namespace
}  // namespace culvert::pipeline
