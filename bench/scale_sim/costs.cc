#include "bench/scale_sim/costs.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

namespace culvert::scale_sim {
namespace {

constexpr double kMaxCost = 1e9;

struct Field {
  const char* name;
  double Costs::*member;
  double lowest;
};
constexpr Field kFields[] = {
    {"outbound", &Costs::outbound_ns, 1}, {"inbound", &Costs::inbound_ns, 1}, {"wakeup", &Costs::wakeup_ns, 0},
    {"handover", &Costs::handover_ns, 0}, {"shared", &Costs::shared_ns, 0},   {"batch", &Costs::batch, 1},
    {"bytes", &Costs::bytes, 1},
};

std::optional<double> number_of(const std::string& word) {
  double number = 0;
  const char* const end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, number);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

bool in_range(double value, double lowest) {
  return std::isfinite(value) && value >= lowest && value <= kMaxCost;
}

}  // namespace

double Costs::one_core_rate() const {
  return std::min(outbound_rate(), inbound_rate());
}

io::Result<Costs> parse_costs(std::string_view json, std::string where) {
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  if (!parsed.is_object())
    return io::Error{0, where + " is no JSON object, such as {\"outbound\": 245, \"batch\": 45}"};
  Costs costs;
  for (const auto& item : parsed.items()) {
    const std::string name = "'" + item.key() + "'";
    const Field* const field = std::find_if(std::begin(kFields), std::end(kFields),
                                            [&](const Field& known) { return item.key() == known.name; });
    if (field == std::end(kFields))
      return io::Error{0, where.append(": ").append(name).append(
                              " is no cost; there are outbound, inbound, wakeup, handover, shared, batch and bytes")};
    if (!item.value().is_number() || !in_range(item.value().get<double>(), field->lowest))
      return io::Error{0, where.append(": ")
                              .append(name)
                              .append(" is no number from ")
                              .append(field->lowest == 0 ? "0" : "1")
                              .append(" to 1e9")};
    costs.*field->member = item.value().get<double>();
  }
  return costs;
}

io::Result<Costs> read_costs(const std::string& word) {
  if (const auto number = number_of(word)) {
    if (!in_range(*number, 1)) return io::Error{0, "--costs " + word + ": a packet costs from 1 to 1e9 nanoseconds"};
    Costs costs;
    costs.outbound_ns = costs.inbound_ns = *number;
    return costs;
  }
  std::ifstream file(word);
  std::ostringstream text;
  text << file.rdbuf();  // fails for a folder; so does an empty file, which is no costs either
  if (!file || !text) return io::Error{errno, "--costs " + word + " is no number, nor a file to read"};
  return parse_costs(text.str(), word);
}

}  // namespace culvert::scale_sim
