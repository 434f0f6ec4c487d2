// culvert [-f|--foreground] [--config FILE] IFNAME, or culvert VERB [WORD...]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "crypto/aead_engine.h"
#include "io/fd.h"
#include "io/uring/ring.h"
#include "io/wakeup.h"
#include "src/config/config.h"
#include "src/daemon/command_line.h"
#include "src/daemon/control_loop.h"
#include "src/daemon/daemonize.h"
#include "src/daemon/environment.h"
#include "src/daemon/process.h"
#include "src/daemon/verbs.h"
#include "src/device/device.h"
#include "src/host/link_setup.h"
#include "src/host/netns_id.h"
#include "src/log.h"
#include "src/uapi/socket.h"
#include "tun/tun_device.h"

namespace culvert::daemon {
namespace {

// What wireguard-go sets, and what fits a 1500-byte path with IPv6 outside.
constexpr int kDefaultMtu = 1420;

// A wish: a device that was passed to us may be in another network namespace, or not ours to change.
void forgo_link_local_address(tun::TunDevice& tun) {
  const io::Result<io::Fd> home = tun.device_namespace_fd();
  if (!home || !host::is_own_namespace(home->get())) return;
  if (const io::Status set = host::forgo_link_local_address(tun.name()); !set) log_verbose("{}", set.error().text());
}

io::Result<std::unique_ptr<tun::TunDevice>> open_tun(const std::string& name, const Environment& environment) {
  tun::TunOptions options;
  options.vnet = environment.tun_offload;
  options.tso = environment.tun_tso;
  options.uso = environment.tun_uso;
  options.join = environment.tun_join;
  options.engine = environment.tun_engine;
  auto tun = environment.tun_fd ? tun::TunDevice::adopt(io::Fd(*environment.tun_fd), options)
                                : tun::TunDevice::create(name, options);
  if (!tun) return tun;
  if (const io::Status set = (*tun)->set_mtu(kDefaultMtu); !set) return set.error();
  forgo_link_local_address(**tun);
  return tun;
}

// The interface settings of --config. Link changes reach the device as anybody's would.
io::Status set_up_link(const std::string& name, const config::Config& config) {
  if (config.host.mtu)
    if (io::Status set = host::set_link_mtu(name, *config.host.mtu); !set) return set;
  if (io::Status set = host::add_link_addresses(name, config.host.addresses); !set) return set;
  return host::set_link_up(name);
}

void log_start(const tun::TunDevice& tun) {
  const io::InnerOffloads offloads = tun.queue(0).offloads();
  log_verbose("AEAD engine {}; TUN by {}; TUN offloads: checksum {}, TCP {}, UDP {}", crypto::engine_name(),
              io::engine_name(tun.queue(0).engine()), offloads.checksum, offloads.tcp4 && offloads.tcp6,
              offloads.udp4 && offloads.udp6);
}

int fail(Readiness& readiness, const std::string& what) {
  log_error("{}", what);
  readiness.report_failure(what, kExitSetupFailed);
  return kExitSetupFailed;
}

int serve(const CommandLine& command_line, const Environment& environment, std::optional<config::Config> config,
          Readiness readiness) {
  block_end_signals();
  auto tun = open_tun(command_line.interface_name, environment);
  if (!tun) return fail(readiness, "Failed to create TUN device: " + tun.error().text());
  const std::string name = (*tun)->name();
  if (readiness.in_background() && !environment.keep_output)
    open_system_log(environment.log_level, name);
  else
    open_log(environment.log_level, name);

  if (environment.udp_engine == io::Engine::io_uring)
    if (const auto ring = io::Ring::open(); !ring)
      return fail(readiness,
                  "CULVERT_UDP_ENGINE=io_uring is not possible here, use auto or epoll: " + ring.error().text());

  auto listener = environment.uapi_fd ? io::Result<io::Fd>(io::Fd(*environment.uapi_fd)) : uapi::open_uapi_socket(name);
  if (!listener) return fail(readiness, "Failed to open the UAPI socket: " + listener.error().text());
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return fail(readiness, wakeup.error().text());

  device::Device device({name, environment.gso, environment.gro, environment.udp_engine, (*tun)->queue(0).engine()},
                        *wakeup);
  device.set_mtu(kDefaultMtu);
  std::vector<io::InnerSide*> queues;
  for (size_t i = 0; i < (*tun)->queue_count(); ++i) queues.push_back(&(*tun)->queue(i));
  if (const io::Status started = device.start_workers(queues); !started)
    return fail(readiness, "Failed to start the workers: " + started.error().text());
  auto loop = ControlLoop::open(device, *wakeup, (*tun)->queue(0).fd(), std::move(*listener),
                                environment.uapi_fd ? "" : uapi::uapi_socket_file(name));
  if (!loop) return fail(readiness, "Failed to start the control loop: " + loop.error().text());

  if (config) {
    const io::Status applied =
        (*loop)->turn([&](device::Device& target) { return config::apply_config(*config, target); });
    if (!applied) return fail(readiness, "Failed to apply the configuration: " + applied.error().text());
    if (const io::Status set = set_up_link(name, *config); !set)
      return fail(readiness, "Failed to set up the interface: " + set.error().text());
    if (const io::Status served = (*loop)->follow_link(); !served)
      return fail(readiness, "Failed to bring the interface up: " + served.error().text());
    config.reset();  // the keys are the device's alone from now on
  }
  if (environment.metrics)
    if (const io::Status served = (*loop)->serve_metrics(*environment.metrics); !served)
      return fail(readiness, "Failed to serve metrics at " + served.error().text());
  log_start(**tun);
  readiness.report_ready(environment.keep_output);
  (*loop)->run();
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
  const auto environment = parse_environment([](const char* name) { return std::getenv(name); });
  if (!environment) {
    std::fprintf(stderr, "culvert: %s\n", environment.error().text().c_str());
    return kExitUsage;
  }
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
