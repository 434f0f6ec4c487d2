#include "bench/traffic/rate_search.h"

#include <algorithm>

namespace culvert::traffic {
namespace {

// Losses beyond this share are no accident.
constexpr double kAccidentalLoss = 0.05;
constexpr int kAttempts = 3;
// A sender that stays below this share of a rate cannot send any faster.
constexpr double kReached = 0.98;
// Below this nothing passes.
constexpr double kLowestRate = 20;
// Bisection ends by itself; this is for trials that contradict each other.
constexpr size_t kMaxTrials = 60;

double loss_of(const Trial& trial) {
  if (trial.sent == 0) return 1;
  return 1 - static_cast<double>(std::min(trial.received, trial.sent)) / static_cast<double>(trial.sent);
}

class Search {
 public:
  Search(const RateSearchOptions& options, const RunTrial& run_trial) : options_(options), run_trial_(run_trial) {}

  io::Result<RateSearchResult> run() {
    if (io::Status first = attempt(0); !first) return first.error();
    const Trial unlimited = result_.trials.back();
    if (passed_) return std::move(result_);
    failing_ = unlimited.pps;
    double next = unlimited.pps * (1 - loss_of(unlimited));
    while (failing_ - result_.pps > options_.resolution * failing_ && failing_ > kLowestRate &&
           result_.trials.size() < kMaxTrials) {
      if (next <= result_.pps || next >= failing_) next = (result_.pps + failing_) / 2;
      if (io::Status done = attempt(next); !done) return done.error();
      if (!passed_ || result_.trials.back().pps < kReached * next) failing_ = next;
      next = (result_.pps + failing_) / 2;
    }
    return std::move(result_);
  }

 private:
  // Makes a trial, again if need be.
  io::Status attempt(double pps) {
    passed_ = false;
    for (int time = 0; time < kAttempts && !passed_; ++time) {
      auto trial = run_trial_(pps);
      if (!trial) return trial.error();
      result_.trials.push_back(*trial);
      const double loss = loss_of(*trial);
      passed_ = loss <= options_.loss;
      if (passed_) result_.pps = std::max(result_.pps, trial->pps);
      if (loss > options_.loss + kAccidentalLoss) break;
    }
    return io::Success{};
  }

  const RateSearchOptions options_;
  const RunTrial& run_trial_;
  RateSearchResult result_;
  double failing_ = 0;   // the lowest rate known to fail
  bool passed_ = false;  // the last attempt
};

}  // namespace

io::Result<RateSearchResult> search_rate(const RateSearchOptions& options, const RunTrial& run_trial) {
  return Search(options, run_trial).run();
}

}  // namespace culvert::traffic
