// The command line of lab_traffic.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "bench/traffic/handshakes.h"
#include "bench/traffic/loss_free_rate.h"
#include "bench/traffic/sender.h"
#include "bench/traffic/stream_run.h"
#include "bench/traffic/transactions.h"
#include "bench/traffic/waits.h"
#include "io/endpoint.h"

namespace culvert::traffic {

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct SinkCommand {
  io::Endpoint bind;
  std::string control_path;
};
struct UdpCommand {
  SenderOptions sender;
  StreamRun run;
};
struct SearchCommand {
  LossFreeRateOptions options;
};
struct EchoCommand {
  io::Endpoint bind;
};
struct TransactionCommand {
  TransactionOptions options;
};
struct HandshakeCommand {
  HandshakeOptions options;
};
struct WaitsCommand {
  WaitsOptions options;
};
using Command = std::variant<SinkCommand, UdpCommand, SearchCommand, EchoCommand, TransactionCommand, HandshakeCommand,
                             WaitsCommand>;

// What the command line asks for: to run `command`, or to print `output` and exit.
struct CommandLineOutcome {
  bool run = false;
  Command command;  // when run
  int exit_code = 0;
  std::string output;  // for stdout on 0 (--help), for stderr on kExitUsage
};

// `arguments` without the program's name. Pure.
CommandLineOutcome parse_command_line(const std::vector<std::string>& arguments);

}  // namespace culvert::traffic
