// The command line: culvert [-f|--foreground] [--config FILE] [--source-ports N|LO-HI] [--workers WORKERS]
// [--dpdk ARGUMENTS [--outer-port PORT] [--inner-port PORT] [--busy-poll]] IFNAME.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/source_ports.h"
#include "src/device/port_request.h"
#include "src/device/worker_request.h"

namespace culvert::daemon {

inline constexpr int kExitSuccess = 0;
inline constexpr int kExitSetupFailed = 1;
inline constexpr int kExitUsage = 2;

struct CommandLine {
  bool foreground = false;
  std::string config_path;                       // "" without --config
  std::optional<io::SourcePorts> source_ports;   // none: as the environment says
  std::optional<device::WorkerRequest> workers;  // none: as the environment or the file says
  std::optional<device::DpdkRequest> dpdk;       // none: as the file says
  std::string interface_name;
};

// What the command line asks for: to run, or to print `output` and exit.
struct CommandLineOutcome {
  bool run = false;
  CommandLine command_line;  // when run
  int exit_code = kExitSuccess;
  std::string output;  // for stdout on kExitSuccess (--help, --version), for stderr on kExitUsage
};

// `arguments` without the program's name. Pure.
CommandLineOutcome parse_command_line(const std::vector<std::string>& arguments);

// "" when Linux accepts `name` for an interface, else why not and how to mend it (the kernel's
// dev_valid_name()).
std::string interface_name_error(std::string_view name);

}  // namespace culvert::daemon
