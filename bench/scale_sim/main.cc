// scale_sim: what a number of cores carries, by source ports, by groups of tunnels and by plain WireGuard.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include "bench/scale_sim/command_line.h"
#include "bench/scale_sim/report.h"

namespace culvert::scale_sim {
namespace {

io::Status write_file(const std::string& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return io::Error{errno, "write " + path};
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int number = errno;
  if (std::fclose(file) != 0) return io::Error{errno, "write " + path};
  if (!written) return io::Error{number, "write " + path};
  return io::Success{};
}

io::Status run(const Options& options) {
  const std::vector<MixResult> results = simulate(options.plan);
  if (!options.svg_path.empty())
    if (io::Status written = write_file(options.svg_path, svg_report(options.plan, results)); !written) return written;
  const bool json_only = options.json_path == "-";
  if (!options.json_path.empty() && !json_only)
    if (io::Status written = write_file(options.json_path, json_report(options.plan, results)); !written)
      return written;
  const std::string text = json_only ? json_report(options.plan, results) : text_report(options.plan, results);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) return io::Error{errno, "write the report"};
  return io::Success{};
}

}  // namespace
}  // namespace culvert::scale_sim

int main(int argc, char** argv) {
  using namespace culvert::scale_sim;
  std::signal(SIGPIPE, SIG_IGN);
  const CommandLineOutcome outcome = parse_command_line({argv + 1, argv + argc});
  if (!outcome.run) {
    std::fputs(outcome.output.c_str(), outcome.exit_code == 0 ? stdout : stderr);
    return outcome.exit_code;
  }
  if (const auto done = run(outcome.options); !done) {
    std::fprintf(stderr, "scale-sim: %s\n", done.error().text().c_str());
    return kExitFailed;
  }
  return 0;
}
