// Numbers in text from outside: a port, a count, a prefix length.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace culvert::io {

// Decimal digits only (no sign, no space), at most `max`; nothing otherwise.
inline std::optional<uint64_t> parse_decimal(std::string_view text, uint64_t max) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

}  // namespace culvert::io
