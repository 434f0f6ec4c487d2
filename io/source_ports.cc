#include "io/source_ports.h"

#include "io/decimal.h"

namespace culvert::io {
namespace {

std::optional<uint16_t> parse_port(std::string_view text) {
  const std::optional<uint64_t> number = parse_decimal(text, UINT16_MAX);
  if (!number || *number == 0) return std::nullopt;
  return static_cast<uint16_t>(*number);
}

}  // namespace

std::optional<SourcePorts> parse_source_ports(std::string_view text) {
  const size_t dash = text.find('-');
  const std::optional<uint16_t> first = parse_port(text.substr(0, dash));
  if (!first) return std::nullopt;
  if (dash == std::string_view::npos)
    return *first <= kMaxSourcePorts ? std::optional(SourcePorts{.count = *first}) : std::nullopt;
  const std::optional<uint16_t> last = parse_port(text.substr(dash + 1));
  if (!last || *last < *first || *last - *first >= kMaxSourcePorts) return std::nullopt;
  return SourcePorts{.count = static_cast<uint16_t>(*last - *first + 1), .first = *first};
}

std::string to_string(const SourcePorts& ports) {
  if (!ports.is_range()) return std::to_string(ports.count);
  return std::to_string(ports.first) + '-' + std::to_string(ports.last());
}

}  // namespace culvert::io
