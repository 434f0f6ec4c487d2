// culvert [-f|--foreground] [--config FILE] IFNAME, or culvert VERB [WORD...]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/aead_engine.h"
#include "src/config/config.h"
#include "src/daemon/command_line.h"
#include "src/daemon/daemonize.h"
#include "src/daemon/environment.h"
#include "src/daemon/interface.h"
#include "src/daemon/process.h"
#include "src/daemon/service_manager.h"
#include "src/daemon/verbs.h"
#include "src/host/link_setup.h"
#include "src/log.h"

namespace culvert::daemon {
namespace {

// The interface settings of --config. Link changes reach the device as anybody's would.
io::Status set_up_link(const std::string& name, const config::Config& config) {
  if (config.host.mtu)
    if (io::Status set = host::set_link_mtu(name, *config.host.mtu); !set) return set;
  if (io::Status set = host::add_link_addresses(name, config.host.addresses); !set) return set;
  return host::set_link_up(name);
}

int fail(Readiness& readiness, const std::string& what) {
  log_error("{}", what);
  readiness.report_failure(what, kExitSetupFailed);
  return kExitSetupFailed;
}

// A manager that cannot be told gives up on us by itself; the tunnel works meanwhile.
void tell_service_manager(std::string_view state) {
  if (const io::Status told = notify_service_manager(std::getenv("NOTIFY_SOCKET"), state); !told)
    log_error("{}", told.error().text());
}

int serve(const CommandLine& command_line, const Environment& environment, std::optional<config::Config> config,
          Readiness readiness) {
  block_end_signals();
  InterfaceRequest request;
  if (config) request = {config->workers, config->dpdk, config->host.mtu};
  if (command_line.dpdk) request.dpdk = command_line.dpdk;
  auto tun = request.has_tun() ? open_tun(command_line.interface_name, environment, !config || config->short_queues)
                               : io::Result<std::unique_ptr<tun::TunDevice>>(nullptr);
  if (!tun) return fail(readiness, tun.error().text());
  const std::string name = *tun != nullptr ? (*tun)->name() : command_line.interface_name;
  if (readiness.in_background() && !environment.keep_output)
    open_system_log(environment.log_level, name);
  else
    open_log(environment.log_level, name);
  auto interface = Interface::open(name, std::move(*tun), environment, Interface::Process::drop_in, request);
  if (!interface) return fail(readiness, interface.error().text());
  ControlLoop& loop = (*interface)->loop();

  if (config) {
    const io::Status applied = loop.turn([&](device::Device& target) { return config::apply_config(*config, target); });
    if (!applied) return fail(readiness, "Failed to apply the configuration: " + applied.error().text());
    if (const io::Status set = request.has_tun() ? set_up_link(name, *config) : io::Success{}; !set)
      return fail(readiness, "Failed to set up the interface: " + set.error().text());
    if (const io::Status served = loop.follow_link(); !served)
      return fail(readiness, "Failed to bring the interface up: " + served.error().text());
    config.reset();  // the keys are the device's alone from now on
  }
  if (environment.metrics)
    if (const io::Status served = loop.serve_metrics(*environment.metrics); !served)
      return fail(readiness, "Failed to serve metrics at " + served.error().text());
  readiness.report_ready(environment.keep_output);
  tell_service_manager("READY=1");
  loop.run();
  tell_service_manager("STOPPING=1");
  log_verbose("Shutting down");
  return kExitSuccess;
}

std::vector<int> passed_descriptors(const Environment& environment) {
  std::vector<int> passed;
  for (const std::optional<int>& fd : {environment.tun_fd, environment.uapi_fd})
    if (fd) passed.push_back(*fd);
  return passed;
}

int run(const CommandLine& command_line) {
  auto environment = parse_environment([](const char* name) { return std::getenv(name); });
  if (!environment) {
    std::fprintf(stderr, "culvert: %s\n", environment.error().text().c_str());
    return kExitUsage;
  }
  environment->source_ports = command_line.source_ports.value_or(environment->source_ports);
  if (command_line.workers) environment->workers = command_line.workers;
  open_log(environment->log_level, command_line.interface_name);
  for (const std::string& warning : environment->warnings) log_error("{}", warning);
  if (!crypto::engine_override_error().empty()) {
    std::fprintf(stderr, "culvert: %s\n", crypto::engine_override_error().c_str());
    return kExitUsage;
  }

  std::optional<config::Config> config;
  if (!command_line.config_path.empty()) {
    config::ConfigOutcome loaded = config::load_config(command_line.config_path);
    for (const std::string& error : loaded.errors) std::fprintf(stderr, "%s\n", error.c_str());
    if (!loaded) return kExitUsage;
    config = std::move(loaded.config);
  }

  Readiness readiness;
  if (!command_line.foreground && !environment->foreground) {
    auto daemonized = daemonize(passed_descriptors(*environment));
    if (!daemonized) {
      std::fprintf(stderr, "culvert: %s\n", daemonized.error().text().c_str());
      return kExitSetupFailed;
    }
    if (!daemonized->in_child) {
      if (!daemonized->error.empty()) std::fprintf(stderr, "culvert: %s\n", daemonized->error.c_str());
      return daemonized->exit_code;
    }
    readiness = std::move(daemonized->readiness);
  }
  return serve(command_line, *environment, std::move(config), std::move(readiness));
}

}  // namespace
}  // namespace culvert::daemon

int main(int argc, char** argv) {
  using namespace culvert::daemon;
  open_missing_standard_streams();
  forbid_core_dumps();
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (const Verb* const verb = find_verb(all_verbs(), argc > 0 ? argv[0] : "", arguments))
    return verb->run({arguments.begin() + 1, arguments.end()});
  const CommandLineOutcome outcome = parse_command_line(arguments);
  if (outcome.run) return run(outcome.command_line);
  std::fputs(outcome.output.c_str(), outcome.exit_code == kExitSuccess ? stdout : stderr);
  return outcome.exit_code;
}
