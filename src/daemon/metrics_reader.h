// The other end of the metrics: asks a running culvert for them, and reads the text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/result.h"

namespace culvert::daemon {

struct MetricSample {
  std::map<std::string, std::string, std::less<>> labels;
  uint64_t value = 0;

  // "" without it.
  const std::string& label(std::string_view name) const;
};

// Samples by the name of their family, without "culvert_".
using MetricFamilies = std::map<std::string, std::vector<MetricSample>, std::less<>>;

// Lines that are no samples are passed over. Pure.
MetricFamilies parse_metrics(std::string_view text);

// Asks whoever serves the UAPI socket of this interface. Waits for at most `seconds` for each piece. Errors: those of
// connect(2); EPROTO: it is no culvert that knows of metrics.
io::Result<std::string> fetch_metrics(const std::string& socket_path, int seconds = 5);

}  // namespace culvert::daemon
