// How a tunnel is, for `culvert status`. No secrets.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "src/config/config.h"
#include "src/device/configurable.h"
#include "src/host/step.h"

namespace culvert::daemon {

struct TunnelStatus {
  const std::string& name;
  const std::string& file;
  const device::DeviceState& state;
  std::span<const host::Step> steps;  // that are done on the host
  const config::Config& config;       // which names stand for endpoints
};

enum class StatusForm : uint8_t {
  text,  // for people
  json,  // one object, whose keys are always all there: culvert(8) has them. Later versions may have more
};

std::string print_status(const TunnelStatus& status, StatusForm form);

}  // namespace culvert::daemon
