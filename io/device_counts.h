// What a device counts for all of its sides, for the metrics: its driver's numbers, and those that sides add up.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace culvert::io {

struct DeviceCount {
  std::string_view name;  // of the metric family, without the prefix: a counter ends in _total, a gauge in nothing
  std::string_view help;
  uint64_t value = 0;
};

struct DeviceCounts {
  std::string device;  // its name: of a card, or a vdev
  std::vector<DeviceCount> counts;
};

}  // namespace culvert::io
