// How many workers a user asks for, as a word: on the command line, in the environment and in files.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/result.h"

namespace culvert::device {

// Neither: as many as the process may use CPUs.
struct WorkerRequest {
  std::optional<size_t> count;
  std::vector<int> cpus;  // one worker on each of these, in this order; different ones

  bool operator==(const WorkerRequest&) const = default;
};

// CPUs as the kernel writes them, such as "0-3,8": in this order, each once. Nothing: it is no such list, or one of
// more than io::kMaxWorkers. Spaces and newlines at the end do not count.
std::optional<std::vector<int>> parse_cpu_list(std::string_view text);

// As parse_worker_request() takes it.
std::string to_string(const WorkerRequest& request);

// "auto", a number, or a list of CPUs with a ',' or a '-' in it. The error says what may stand there.
io::Result<WorkerRequest> parse_worker_request(std::string_view text);

}  // namespace culvert::device
