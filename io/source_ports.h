// Which UDP ports a device sends from, as a user asks for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace culvert::io {

// More would not spread better: a receiver tells 128 apart (its steering slots).
inline constexpr uint16_t kMaxSourcePorts = 128;

// A number of ports, or a range. The base port (the listen port) is always one of them.
struct SourcePorts {
  uint16_t count = 1;  // with the base port; of a range: how many ports it has
  uint16_t first = 0;  // the first port of a range; 0: any `count` ports, neighbours where that is possible

  bool is_range() const { return first != 0; }
  uint16_t last() const { return static_cast<uint16_t>(first + count - 1); }
  bool operator==(const SourcePorts&) const = default;
};

// Reads "8" or "40000-40007": at least one port, at most kMaxSourcePorts. Nothing if it is neither.
std::optional<SourcePorts> parse_source_ports(std::string_view text);

// What parse_source_ports() reads.
std::string to_string(const SourcePorts& ports);

}  // namespace culvert::io
