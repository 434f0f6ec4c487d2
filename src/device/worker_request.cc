#include "src/device/worker_request.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "io/steering_table.h"
#include "src/device/encoding.h"

namespace culvert::device {
namespace {

constexpr uint64_t kGreatestCpu = 65535;

// "3" or "0-3".
bool add_range(std::string_view range, std::vector<int>& cpus) {
  const size_t dash = range.find('-');
  const auto first = parse_decimal(range.substr(0, dash), kGreatestCpu);
  const auto last = dash == std::string_view::npos ? first : parse_decimal(range.substr(dash + 1), kGreatestCpu);
  if (!first || !last || *first > *last || *last - *first >= io::kMaxWorkers) return false;
  for (uint64_t cpu = *first; cpu <= *last; ++cpu) {
    const int number = static_cast<int>(cpu);
    if (std::find(cpus.begin(), cpus.end(), number) != cpus.end()) return false;
    cpus.push_back(number);
  }
  return cpus.size() <= io::kMaxWorkers;
}

}  // namespace

std::optional<std::vector<int>> parse_cpu_list(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  std::vector<int> cpus;
  for (;;) {
    const size_t comma = text.find(',');
    if (!add_range(text.substr(0, comma), cpus)) return std::nullopt;
    if (comma == std::string_view::npos) return cpus;
    text.remove_prefix(comma + 1);
  }
}

std::string to_string(const WorkerRequest& request) {
  if (request.count) return std::to_string(*request.count);
  std::string text;
  for (const int cpu : request.cpus) {
    if (!text.empty()) text += ',';
    text += std::to_string(cpu);
  }
  // One CPU alone would be taken for a number of workers.
  if (request.cpus.size() == 1) text.append("-").append(std::to_string(request.cpus[0]));
  return text.empty() ? "auto" : text;
}

io::Result<WorkerRequest> parse_worker_request(std::string_view text) {
  WorkerRequest request;
  if (text == "auto") return request;
  if (text.find_first_of(",-") != std::string_view::npos) {
    if (auto cpus = parse_cpu_list(text)) {
      request.cpus = std::move(*cpus);
      return request;
    }
  } else if (const auto count = parse_decimal(text, io::kMaxWorkers); count && *count > 0) {
    request.count = static_cast<size_t>(*count);
    return request;
  }
  return io::Error{
      0, quote(text) + " is no number of workers: use auto, 1 to 128, or a list of different CPUs such as 0-3,8"};
}

}  // namespace culvert::device
