// The command line of scale_sim.
#pragma once

#include <string>
#include <vector>

#include "bench/scale_sim/simulation.h"

namespace culvert::scale_sim {

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct Options {
  Plan plan;
  std::string svg_path;   // "" without --svg
  std::string json_path;  // "" without --json, "-" for stdout instead of the text
};

// What the command line asks for: to run `options`, or to print `output` and exit.
struct CommandLineOutcome {
  bool run = false;
  Options options;  // when run
  int exit_code = 0;
  std::string output;  // for stdout on 0 (--help), for stderr on kExitUsage
};

// `arguments` without the program's name. Reads the file that --costs names, and nothing else.
[[nodiscard]] CommandLineOutcome parse_command_line(const std::vector<std::string>& arguments);

}  // namespace culvert::scale_sim
