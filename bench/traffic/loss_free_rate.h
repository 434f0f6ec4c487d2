// `search`: trials over the network for the search of the loss-free rate.
#pragma once

#include <string>

#include "bench/traffic/rate_search.h"
#include "bench/traffic/sender.h"
#include "io/result.h"

namespace culvert::traffic {

struct LossFreeRateOptions {
  SenderOptions sender;
  std::string control_path;  // of the sink
  double trial_seconds = 0.5;
  RateSearchOptions search;
};

struct LossFreeRate {
  RateSearchResult search;
  double gbps = 0;  // payload bits of the best trial
};

// Errors: no sink, nothing arrives there at all.
io::Result<LossFreeRate> find_loss_free_rate(const LossFreeRateOptions& options);

}  // namespace culvert::traffic
