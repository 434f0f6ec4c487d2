// lab_traffic COMMAND ...: the traffic that tools/lab measures tunnels with.

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "bench/traffic/command_line.h"
#include "bench/traffic/echo.h"
#include "bench/traffic/sink.h"
#include "crypto/random.h"

namespace culvert::traffic {
namespace {

using nlohmann::ordered_json;

// What a command prints at its end; an empty text for nothing.
using Report = io::Result<std::string>;

Report run(const SinkCommand& command) {
  return run_sink(command.bind, command.control_path);
}

Report run(const UdpCommand& command) {
  auto sender = Sender::open(command.sender);
  if (!sender) return sender.error();
  StreamRun run = command.run;
  run.run = static_cast<uint16_t>(crypto::random_uint32());
  const auto result = send_stream(**sender, run);
  if (!result) return result.error();
  const SentCounts& sent = result->sent;
  return ordered_json{{"datagrams", sent.datagrams},
                      {"bytes", sent.bytes},
                      {"seconds", result->seconds},
                      {"system_calls", sent.system_calls},
                      {"stalls", sent.stalls}}
      .dump();
}

Report run(const SearchCommand& command) {
  const auto found = find_loss_free_rate(command.options);
  if (!found) return found.error();
  ordered_json trials = ordered_json::array();
  for (const Trial& trial : found->search.trials)
    trials.push_back({{"pps", trial.pps}, {"sent", trial.sent}, {"received", trial.received}});
  return ordered_json{{"pps", found->search.pps}, {"gbps", found->gbps}, {"trials", trials}}.dump();
}

Report run(const EchoCommand& command) {
  if (io::Status done = run_echo(command.bind); !done) return done.error();
  return std::string();
}

Report run(const HandshakeCommand& command) {
  const auto result = run_handshakes(command.options);
  if (!result) return result.error();
  const HandshakeCounts& counts = result->counts;
  return ordered_json{{"initiations", counts.initiations},
                      {"responses", counts.responses},
                      {"cookies", counts.cookies},
                      {"seconds", result->seconds},
                      {"per_second", static_cast<double>(counts.responses) / result->seconds},
                      {"unanswered", counts.unanswered},
                      {"cpu_seconds", result->cpu_seconds}}
      .dump();
}

Report run(const TransactionCommand& command) {
  const auto result = run_transactions(command.options);
  if (!result) return result.error();
  const LatencySummary& latency = result->latency;
  return ordered_json{{"transactions", latency.count}, {"seconds", result->seconds}, {"mean_us", latency.mean_us},
                      {"p50_us", latency.p50_us},      {"p99_us", latency.p99_us},   {"p999_us", latency.p999_us},
                      {"max_us", latency.max_us}}
      .dump();
}

Report run(const WaitsCommand& command) {
  const auto log = measure_waits(command.options);
  if (!log) return log.error();
  ordered_json stretches = ordered_json::object();
  for (const Stretch& stretch : kStretches) {
    const LatencySummary times = log->summarize(stretch);
    stretches[std::string(stretch.name)] = {{"count", times.count},   {"mean_us", times.mean_us},
                                            {"p50_us", times.p50_us}, {"p90_us", times.p90_us},
                                            {"p99_us", times.p99_us}, {"max_us", times.max_us}};
  }
  return ordered_json{{"sent", log->count()}, {"received", log->count_at(Place::received)}, {"stretches", stretches}}
      .dump();
}

int run_command(const Command& command) {
  const Report report = std::visit([](const auto& chosen) { return run(chosen); }, command);
  if (!report) {
    std::fprintf(stderr, "lab_traffic: %s\n", report.error().text().c_str());
    return kExitFailed;
  }
  if (!report->empty()) std::puts(report->c_str());
  return std::fflush(stdout) == 0 ? 0 : kExitFailed;
}

}  // namespace
}  // namespace culvert::traffic

int main(int argc, char** argv) {
  using namespace culvert::traffic;
  std::signal(SIGPIPE, SIG_IGN);
  const CommandLineOutcome outcome = parse_command_line({argv + 1, argv + argc});
  if (outcome.run) return run_command(outcome.command);
  std::fputs(outcome.output.c_str(), outcome.exit_code == 0 ? stdout : stderr);
  return outcome.exit_code;
}
