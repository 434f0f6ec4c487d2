// Which CPUs the process may use, and which workers it makes of that.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/result.h"
#include "src/device/worker_pool.h"
#include "src/device/worker_request.h"

namespace culvert::daemon {

struct HostCpus {
  std::vector<int> usable;              // sched_getaffinity(2), which knows cpusets
  std::vector<std::vector<int>> nodes;  // all CPUs of each NUMA node; empty where it is not known
  std::optional<size_t> quota;          // of the control group, rounded up
};

// Asks the kernel. `root` stands before /sys and /proc, for tests. What cannot be read is left out; one CPU is there
// always.
HostCpus read_host_cpus(const std::string& root = "");

// The CPUs that "QUOTA PERIOD" of a control group's cpu.max allow, rounded up; nothing for "max".
std::optional<size_t> parse_cpu_max(std::string_view text);

// A list of CPUs keeps each worker on its own. Otherwise no worker is kept on one CPU, where it would wait for whoever
// has it at the moment while another is idle; but on a host with several NUMA nodes each stays on the node that its
// memory is on. Error: the process may not use a CPU of the list.
io::Result<device::WorkerPlan> plan_workers(const device::WorkerRequest& request, const HostCpus& host);

}  // namespace culvert::daemon
