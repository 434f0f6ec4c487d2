#include "src/daemon/cpus.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "io/steering_table.h"
#include "src/device/encoding.h"

namespace culvert::daemon {
namespace {

constexpr int kMostCpus = 8192;  // the greatest NR_CPUS

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<int> usable_cpus() {
  std::vector<int> usable;
  cpu_set_t* const set = CPU_ALLOC(kMostCpus);
  if (set != nullptr && sched_getaffinity(0, CPU_ALLOC_SIZE(kMostCpus), set) == 0)
    for (int cpu = 0; cpu < kMostCpus; ++cpu)
      if (CPU_ISSET_S(static_cast<size_t>(cpu), CPU_ALLOC_SIZE(kMostCpus), set)) usable.push_back(cpu);
  CPU_FREE(set);
  if (usable.empty()) usable.push_back(0);
  return usable;
}

std::vector<std::vector<int>> read_nodes(const std::string& root) {
  std::vector<std::vector<int>> nodes;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/sys/devices/system/node", error)) {
    if (!entry.path().filename().string().starts_with("node")) continue;
    if (auto cpus = device::parse_cpu_list(first_line(entry.path() / "cpulist"))) nodes.push_back(std::move(*cpus));
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

// The least of our control group (version 2) and those above it.
std::optional<size_t> read_quota(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string path;
  for (std::string line; std::getline(groups, line);)
    if (line.starts_with("0::/")) path = line.substr(3);
  std::optional<size_t> least;
  for (std::filesystem::path group = path; !path.empty() && group.has_relative_path(); group = group.parent_path()) {
    const auto quota = parse_cpu_max(first_line(root + "/sys/fs/cgroup" + group.string() + "/cpu.max"));
    if (quota && (!least || *quota < *least)) least = quota;
  }
  return least;
}

std::vector<int> in_both(const std::vector<int>& some, const std::vector<int>& others) {
  std::vector<int> both;
  for (const int cpu : some)
    if (std::find(others.begin(), others.end(), cpu) != others.end()) both.push_back(cpu);
  return both;
}

// For each usable CPU those of its node that are usable too; nothing on a host with one node.
std::vector<std::vector<int>> by_node(const HostCpus& host) {
  std::vector<std::vector<int>> found;
  for (const int cpu : host.usable)
    for (const std::vector<int>& node : host.nodes)
      if (std::find(node.begin(), node.end(), cpu) != node.end()) found.push_back(in_both(host.usable, node));
  const bool several = std::any_of(found.begin(), found.end(), [&](const auto& node) { return node != found[0]; });
  if (!several || found.size() != host.usable.size()) found.clear();
  return found;
}

}  // namespace

HostCpus read_host_cpus(const std::string& root) {
  return {usable_cpus(), read_nodes(root), read_quota(root)};
}

std::optional<size_t> parse_cpu_max(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  constexpr uint64_t kGreatest = uint64_t{1} << 40;
  const auto quota = device::parse_decimal(text.substr(0, space), kGreatest);
  const auto period = device::parse_decimal(text.substr(space + 1), kGreatest);
  if (!quota || !period || *period == 0) return std::nullopt;
  return std::max<size_t>(1, (*quota + *period - 1) / *period);
}

io::Result<device::WorkerPlan> plan_workers(const device::WorkerRequest& request, const HostCpus& host) {
  device::WorkerPlan plan;
  plan.insisted = request.count.has_value() || !request.cpus.empty();
  for (const int cpu : request.cpus) {
    if (std::find(host.usable.begin(), host.usable.end(), cpu) == host.usable.end())
      return io::Error{EINVAL, fmt::format("a worker shall run on CPU {}, which this process may not use", cpu)};
    plan.cpus.push_back({cpu});
  }
  if (!request.cpus.empty()) {
    plan.count = request.cpus.size();
    return plan;
  }
  const size_t all = std::min(host.usable.size(), host.quota.value_or(host.usable.size()));
  plan.count = request.count.value_or(std::min(all, io::kMaxWorkers));
  plan.cpus = by_node(host);
  plan.balanced = true;
  return plan;
}

}  // namespace culvert::daemon
