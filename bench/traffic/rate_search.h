// The highest rate without loss (RFC 2544 section 26.1), by trials that somebody else makes.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "io/result.h"

namespace culvert::traffic {

// What a trial came to. `pps` is the rate that the sender reached.
struct Trial {
  double pps = 0;
  uint64_t sent = 0;
  uint64_t received = 0;
};

struct RateSearchOptions {
  double loss = 0;           // the share of datagrams that may be lost
  double resolution = 0.05;  // when the rates that pass and fail are this close, relative to the latter, it is over
};

struct RateSearchResult {
  double pps = 0;  // of the best trial that passed; 0 if none did
  std::vector<Trial> trials;
};

// Sends at this rate (0: as fast as it goes) for the trial's time.
using RunTrial = std::function<io::Result<Trial>(double pps)>;

// Starts with the unlimited rate; if that fails, with what was received of it, and bisects from there. A trial that
// loses little is made again, and fails if three do: on a shared machine a lone pause costs datagrams at any rate.
// Errors: those of the trials.
io::Result<RateSearchResult> search_rate(const RateSearchOptions& options, const RunTrial& run_trial);

}  // namespace culvert::traffic
