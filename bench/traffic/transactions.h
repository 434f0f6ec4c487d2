// Requests and responses over TCP, one at a time, each one timed.
#pragma once

#include <cstdint>

#include "bench/traffic/latency.h"
#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::traffic {

struct TransactionOptions {
  io::Endpoint to;  // of an echo server
  double seconds = 1;
  uint32_t bytes = 1;              // of a request, and of its response
  bool connect_each_time = false;  // crr: a transaction is a new connection, a request and its response
};

struct TransactionResult {
  LatencySummary latency;
  double seconds = 0;
};

// `rr` and `crr`. Errors: nothing listens, or no answer came for kTransactionTimeoutSeconds.
io::Result<TransactionResult> run_transactions(const TransactionOptions& options);

inline constexpr int kTransactionTimeoutSeconds = 10;

}  // namespace culvert::traffic
