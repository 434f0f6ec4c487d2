// What a configuration wants of the host: the values of wg-quick(8)'s keys, and of ours for gateways. No code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/device/encoding.h"

namespace culvert::host {

// Which routing table gets the allowed IPs.
struct TableChoice {
  enum class Kind : uint8_t { automatic, off, number };

  Kind kind = Kind::automatic;
  uint32_t number = 0;
  std::string name{};  // that the number was written as; "": as a number

  bool operator==(const TableChoice&) const = default;
};

struct Settings {
  std::vector<device::Prefix> addresses;  // of the interface, host bits kept
  std::optional<uint32_t> mtu;            // bytes; none: as wg-quick works it out
  std::vector<std::string> dns_servers;   // numeric
  std::vector<std::string> dns_search;    // domains
  TableChoice table;
  std::vector<std::string> pre_up, post_up, pre_down, post_down;  // commands of bash(1), with %i for the interface
  bool save = false;                                              // SaveConfig
  bool forward = false;                                           // Forward: the host passes packets on
  std::vector<std::string> masquerade;  // Masquerade: behind these interfaces the tunnel hides with their addresses
};

}  // namespace culvert::host
