#include "src/daemon/environment.h"

#include <fmt/format.h>

#include <climits>
#include <string_view>

#include "src/device/encoding.h"

namespace culvert::daemon {
namespace {

// Reads variables and keeps the first error.
class Reader {
 public:
  explicit Reader(const GetVariable& get_variable) : get_variable_(get_variable) {}

  std::string_view text(const char* name) const {
    const char* value = get_variable_(name);
    return value == nullptr ? std::string_view() : std::string_view(value);
  }

  std::optional<int> descriptor(const char* name) {
    const std::string_view value = text(name);
    if (value.empty()) return std::nullopt;
    const auto number = device::parse_decimal(value, INT_MAX);
    if (!number) {
      fail(name, value, "an open file descriptor's number, or unset it");
      return std::nullopt;
    }
    return static_cast<int>(*number);
  }

  // True unless the variable says off.
  bool is_on(const char* name) {
    const std::string_view value = text(name);
    if (!value.empty() && value != "on" && value != "off") fail(name, value, "'off' or 'on' (the default)");
    return value != "off";
  }

  io::Engine engine(const char* name) {
    const std::string_view value = text(name);
    for (const io::Engine engine : {io::Engine::automatic, io::Engine::epoll, io::Engine::io_uring})
      if (value.empty() || value == io::engine_name(engine)) return engine;
    fail(name, value, "'auto' (the default), 'epoll' or 'io_uring'");
    return io::Engine::automatic;
  }

  std::optional<MetricsAddress> listen_address(const char* name) {
    const std::string_view value = text(name);
    MetricsAddress address;
    if (value.empty()) return std::nullopt;
    if (value.starts_with("unix:/")) {
      address.path = value.substr(5);
      return address;
    }
    const bool port_alone = device::parse_decimal(value, UINT16_MAX).has_value();
    if (!io::parse_endpoint((port_alone ? "127.0.0.1:" : "") + std::string(value), address.endpoint)) {
      fail(name, value, "a port, a numeric address and port (127.0.0.1:9586 or [::1]:9586), or unix:/PATH");
      return std::nullopt;
    }
    return address;
  }

  io::SourcePorts source_ports(const char* name) {
    const std::string_view value = text(name);
    const auto ports = io::parse_source_ports(value.empty() ? "1" : value);
    if (!ports) fail(name, value, "a number of ports, 1 (the default) to 128, or a range such as 40000-40007");
    return ports.value_or(io::SourcePorts());
  }

  std::optional<device::WorkerRequest> workers(const char* name) {
    const std::string_view value = text(name);
    if (value.empty()) return std::nullopt;
    auto request = device::parse_worker_request(value);
    if (request) return std::move(*request);
    fail(name, value, "'auto', a number from 1 to 128, or a list of different CPUs such as 0-3,8");
    return std::nullopt;
  }

  std::optional<io::WideRange> wide_range(const char* name) {
    const std::string_view value = text(name);
    if (value.empty()) return std::nullopt;
    std::optional<io::WideRange> range = io::parse_wide_range(value);
    if (!range)
      fail(name, value, "a range of ports, prefixes of addresses, or both, such as '40000-49999 198.51.100.0/24'");
    return range;
  }

  void fail(const char* name, std::string_view value, std::string_view allowed) {
    if (error_.empty()) error_ = fmt::format("environment variable {}='{}' is wrong: use {}", name, value, allowed);
  }

  const std::string& error() const { return error_; }

 private:
  const GetVariable& get_variable_;
  std::string error_;
};

// wireguard-go takes a word it does not know as `error`, and the variable is not ours alone (many images set
// LOG_LEVEL=info): a warning.
void read_log_level(const Reader& reader, Environment& environment) {
  const std::string_view word = reader.text("LOG_LEVEL");
  if (word == "verbose" || word == "debug") {
    environment.log_level = LogLevel::verbose;
  } else if (word == "silent") {
    environment.log_level = LogLevel::silent;
  } else if (!word.empty() && word != "error") {
    environment.warnings.push_back(
        fmt::format("environment variable LOG_LEVEL='{}' is unknown, so errors are logged: use verbose, debug, error "
                    "or silent",
                    word));
  }
  environment.keep_output = !word.empty() && environment.log_level != LogLevel::silent;
}

}  // namespace

io::Result<Environment> parse_environment(const GetVariable& get_variable) {
  Reader reader(get_variable);
  Environment environment;
  read_log_level(reader, environment);
  environment.tun_fd = reader.descriptor("WG_TUN_FD");
  environment.uapi_fd = reader.descriptor("WG_UAPI_FD");
  environment.foreground = reader.text("WG_PROCESS_FOREGROUND") == "1";
  environment.gso = reader.is_on("CULVERT_GSO");
  environment.gro = reader.is_on("CULVERT_GRO");
  environment.tun_offload = reader.is_on("CULVERT_TUN_OFFLOAD");
  environment.tun_tso = reader.is_on("CULVERT_TUN_TSO");
  environment.tun_uso = reader.is_on("CULVERT_TUN_USO");
  environment.tun_join = reader.is_on("CULVERT_TUN_JOIN");
  environment.short_queues = reader.is_on("CULVERT_SHORT_QUEUES");
  environment.tun_engine = reader.engine("CULVERT_TUN_ENGINE");
  environment.udp_engine = reader.engine("CULVERT_UDP_ENGINE");
  environment.source_ports = reader.source_ports("CULVERT_SOURCE_PORTS");
  environment.listen = reader.wide_range("CULVERT_LISTEN");
  environment.metrics = reader.listen_address("CULVERT_METRICS");
  const bool each_peer = reader.is_on("CULVERT_METRICS_PEERS");
  if (environment.metrics) environment.metrics->each_peer = each_peer;
  environment.workers = reader.workers("CULVERT_WORKERS");
  environment.aead = reader.text("CULVERT_AEAD");
  if (!reader.error().empty()) return io::Error{0, reader.error()};
  return environment;
}

}  // namespace culvert::daemon
