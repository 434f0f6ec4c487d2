// Pieces of a configuration line.
#pragma once

#include <strings.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace culvert::config {

inline std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

// Whether two words are the same but for the case of their letters, as wg(8) compares keys.
inline bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// 1 to 4294967295, or as hexadecimal with 0x: the number of a routing table.
inline std::optional<uint32_t> parse_table_number(std::string_view word) {
  const bool hex = word.size() > 2 && word.starts_with("0x");
  const std::string_view digits = hex ? word.substr(2) : word;
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || number == 0) return std::nullopt;
  return number;
}

// Calls `visit` for each item of a list with commas, spaces removed; not at all for an empty list.
template <typename Visit>
void for_each_item(std::string_view list, Visit&& visit) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    visit(trim(list.substr(0, comma)));
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
    if (list.empty()) visit(list);  // a comma at the end
  }
}

// Calls `visit` for each word; commas and spaces part words, as many as there are. wg-quick(8) reads its lists so.
template <typename Visit>
void for_each_word(std::string_view list, Visit&& visit) {
  constexpr std::string_view kBetween = ", \t\r\v\f";
  for (size_t at = list.find_first_not_of(kBetween); at != std::string_view::npos;
       at = list.find_first_not_of(kBetween, at)) {
    const size_t end = std::min(list.find_first_of(kBetween, at), list.size());
    visit(list.substr(at, end - at));
    at = end;
  }
}

}  // namespace culvert::config
