#include "io/source_ports.h"

#include <charconv>

namespace culvert::io {
namespace {

// A decimal number from 1 to 65535.
std::optional<uint16_t> parse_number(std::string_view text) {
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0) return std::nullopt;
  return number;
}

}  // namespace

std::optional<SourcePorts> parse_source_ports(std::string_view text) {
  const size_t dash = text.find('-');
  const std::optional<uint16_t> first = parse_number(text.substr(0, dash));
  if (!first) return std::nullopt;
  if (dash == std::string_view::npos)
    return *first <= kMaxSourcePorts ? std::optional(SourcePorts{.count = *first}) : std::nullopt;
  const std::optional<uint16_t> last = parse_number(text.substr(dash + 1));
  if (!last || *last < *first || *last - *first >= kMaxSourcePorts) return std::nullopt;
  return SourcePorts{.count = static_cast<uint16_t>(*last - *first + 1), .first = *first};
}

std::string to_string(const SourcePorts& ports) {
  if (!ports.is_range()) return std::to_string(ports.count);
  return std::to_string(ports.first) + '-' + std::to_string(ports.last());
}

}  // namespace culvert::io
