#include "src/protocol/replay_window.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace culvert::protocol {
namespace {

constexpr uint64_t kWindow = ReplayWindow::kWindow;
constexpr uint64_t kLimit = kRejectAfterMessages;

struct Step {
  uint64_t counter;
  bool admitted;
};

struct Case {
  std::string name;
  std::vector<Step> steps;
};

TEST(ReplayWindow, AdmitsEachCounterOfTheWindowOnce) {
  EXPECT_GE(kWindow, 8128u);
  const std::vector<Case> cases = {
      {"the first counter is admitted once", {{0, true}, {0, false}}},
      {"counters in order are admitted", {{0, true}, {1, true}, {2, true}, {1, false}, {2, false}}},
      {"counters out of order are admitted once", {{9, true}, {8, true}, {7, true}, {7, false}, {8, false}}},
      {"the first counter may be large", {{1'000'000, true}, {1'000'000, false}, {999'999, true}}},
      {"the oldest counter of the window is admitted", {{kWindow, true}, {1, true}, {1, false}}},
      {"a counter just behind the window is too old", {{kWindow, true}, {0, false}}},
      {"a jump past the whole window forgets all", {{5, true}, {5 + 3 * kWindow, true}, {5, false}}},
      {"a jump of a whole bitmap leaves no ghost behind",
       {{7, true}, {7 + kReplayWindowBits, true}, {8 + 64, true}, {7 + kReplayWindowBits, false}}},
      {"a large jump leaves no ghost behind", {{64, true}, {64 + (uint64_t{1} << 40), true}}},
      {"a jump to the next word keeps the words between", {{0, true}, {64, true}, {63, true}, {0, false}}},
      {"the last counter is admitted, the limit is not",
       {{kLimit - 1, true}, {kLimit - 1, false}, {kLimit, false}, {UINT64_MAX, false}, {kLimit - 2, true}}},
      {"a counter over the limit moves nothing", {{UINT64_MAX, false}, {0, true}, {1, true}}},
      {"the oldest counter below the limit is admitted",
       {{kLimit - 1, true}, {kLimit - kWindow, true}, {kLimit - kWindow - 1, false}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    ReplayWindow window;
    for (const Step& step : c.steps) EXPECT_EQ(window.admit(step.counter), step.admitted) << step.counter;
  }
}

// What the window must do, with a std::set in place of the bitmap.
class Model {
 public:
  bool admit(uint64_t counter) {
    if (counter >= kLimit) return false;
    if (!seen_.empty() && counter + kWindow <= *seen_.rbegin()) return false;
    return seen_.insert(counter).second;
  }
  uint64_t highest() const { return seen_.empty() ? 0 : *seen_.rbegin(); }

 private:
  std::set<uint64_t> seen_;
};

TEST(ReplayWindow, AgreesWithASetOnRandomSequences) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ReplayWindow window;
    Model model;
    const uint64_t start = seed % 4 == 3 ? kLimit - 20'000 : 0;
    for (int i = 0; i < 20'000; ++i) {
      const uint64_t top = std::max(model.highest(), start);
      uint64_t counter = top + 1;
      switch (random() % 16) {
        case 0:  // anywhere in and around the window
          counter = top - std::min(top, random() % (2 * kWindow));
          break;
        case 1:
          counter = top + random() % 200;
          break;
        case 2:  // a jump, now and then of many windows
          if (random() % 32 == 0) counter = top + random() % (4 * kWindow);
          break;
        case 3:  // the edges
          counter = top - std::min(top, kWindow - 1 + random() % 3);
          break;
        case 4:
          counter = top - std::min(top, random() % 4);
          break;
        default:
          break;
      }
      ASSERT_EQ(window.admit(counter), model.admit(counter)) << counter << " after " << top;
    }
  }
}

TEST(ReplayWindow, TellsWhatWasExpectedAndWhatCame) {
  ReplayWindow window;
  EXPECT_EQ(window.reception().expected, 0u);
  for (const uint64_t counter : {0, 1, 5, 3, 3, 9}) (void)window.admit(counter);
  EXPECT_EQ(window.reception().expected, 10u);
  EXPECT_EQ(window.reception().admitted, 5u);  // the second 3 does not count
}

}  // namespace
}  // namespace culvert::protocol
