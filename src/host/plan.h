// What has to be done on the host for a tunnel, in wg-quick(8)'s order and with its results. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/host/settings.h"
#include "src/host/step.h"

namespace culvert::host {

// What the plan depends on beside the configuration.
struct Facts {
  std::string interface_name;
  uint32_t fwmark = 0;          // of the device, configured or set by wg(8); 0: none
  uint32_t automatic_mark = 0;  // what we take ourselves when it has none: a number whose routing table is empty
  uint32_t path_mtu = 0;        // the widest of the paths to the endpoints; 0: unknown
  bool ipv6 = true;             // the kernel has it
  std::vector<std::string> router_interfaces{};  // see interfaces_of_routers()
};

// The steps for `settings` and the allowed IPs of all peers.
std::vector<Step> plan(const Settings& settings, const Facts& facts, std::span<const device::Prefix> allowed_ips);

// What has to be undone and done to get from one plan to another, each in its order.
struct Difference {
  std::vector<Step> undo;  // in the order in which to undo
  std::vector<Step> go;    // to do
};
Difference difference(std::span<const Step> before, std::span<const Step> after);

// A hook's command with the interface's name for each %i.
std::string expand_hook(std::string_view command, const std::string& interface_name);

}  // namespace culvert::host
