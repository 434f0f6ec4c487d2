#include "src/daemon/command_line.h"

#include <net/if.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <tuple>

#include "src/daemon/verbs.h"

namespace culvert::daemon {
namespace {

constexpr const char* kDescription =
    "culvert carries WireGuard tunnels in userspace. Configure it with wg(8) or wg-quick(8).";
constexpr const char* kFooter =
    "Environment: LOG_LEVEL=verbose|error|silent, WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND=1,\n"
    "CULVERT_GSO=off, CULVERT_GRO=off, CULVERT_TUN_OFFLOAD=off, CULVERT_TUN_TSO=off, CULVERT_TUN_USO=off,\n"
    "CULVERT_TUN_JOIN=off, CULVERT_TUN_ENGINE=ENGINE, CULVERT_UDP_ENGINE=ENGINE, CULVERT_AEAD=ENGINE,\n"
    "CULVERT_METRICS=[ADDR:]PORT, CULVERT_METRICS_PEERS=off, CULVERT_SOURCE_PORTS=N|LO-HI,\n"
    "CULVERT_WORKERS=WORKERS, CULVERT_SHORT_QUEUES=off.\n"
    "culvert(8) says what each does.";

CommandLineOutcome usage_error(const CLI::App& app, const std::string& what) {
  CommandLineOutcome outcome;
  outcome.exit_code = kExitUsage;
  outcome.output = "culvert: " + what + "\n\n" + app.help();
  return outcome;
}

// What is wrong with the words that no option and no IFNAME took.
std::string unexpected_word_error(const std::vector<std::string>& words, const CommandLine& line) {
  const auto option =
      std::find_if(words.begin(), words.end(), [](const std::string& word) { return word.starts_with('-'); });
  if (option != words.end())
    return "there is no option '" + *option +
           "'; the options are --foreground, --config FILE, --source-ports PORTS, --workers WORKERS, "
           "--dpdk ARGUMENTS, --outer-port PORT, --inner-port PORT, --busy-poll, --version and --help";
  return "'" + words.front() + "' is one argument too many; one culvert serves one interface, here '" +
         line.interface_name + "'";
}

// The options of DPDK.
class DpdkOptions {
 public:
  explicit DpdkOptions(CLI::App& app) {
    arguments_ =
        app.add_option("--dpdk", request_.arguments, "use ports of network cards, by DPDK with these arguments")
            ->type_name("ARGUMENTS")
            ->expected(1)
            ->allow_extra_args(false);
    outer_ = app.add_option("--outer-port", outer_text_, "the port that datagrams come and go by, and its addresses")
                 ->type_name("PORT")
                 ->expected(1);
    inner_ = app.add_option("--inner-port", inner_text_, "the port of plain packets, instead of a TUN device")
                 ->type_name("PORT")
                 ->expected(1);
    busy_poll_ = app.add_flag("--busy-poll", request_.busy_poll, "look at ports all the time, also when nothing comes");
  }

  // What is wrong when an option has not got its one value; "": it is none of these.
  std::string mismatch_error(std::string_view what) const {
    for (const CLI::Option* const option : {arguments_, outer_, inner_})
      if (what.find(option->get_name()) != std::string_view::npos)
        return option->get_name() + " needs one value, in quotes where it has blanks";
    return "";
  }

  // "", or what is wrong.
  std::string read(std::optional<device::DpdkRequest>& out) {
    if (arguments_->count() == 0) {
      for (const CLI::Option* const option : {outer_, inner_, busy_poll_})
        if (option->count() != 0) return option->get_name() + " needs --dpdk ARGUMENTS";
      return "";
    }
    for (const auto& [option, text, port] :
         {std::tuple(outer_, &outer_text_, &request_.outer), std::tuple(inner_, &inner_text_, &request_.inner)}) {
      if (option->count() == 0) continue;
      auto request = device::parse_port_request(*text);
      if (!request) return option->get_name() + ": " + request.error().context;
      *port = std::move(*request);
    }
    out = std::move(request_);
    return "";
  }

 private:
  CLI::Option *arguments_, *outer_, *inner_, *busy_poll_;
  device::DpdkRequest request_;
  std::string outer_text_, inner_text_;
};

}  // namespace

CommandLineOutcome parse_command_line(const std::vector<std::string>& arguments) {
  CommandLineOutcome outcome;
  CommandLine& line = outcome.command_line;
  CLI::App app(kDescription, "culvert");
  const std::string verbs = verbs_help(all_verbs());
  app.footer(verbs.empty() ? kFooter : "Verbs:\n" + verbs + "\n" + kFooter);
  app.set_version_flag("--version", std::string("culvert ") + CULVERT_VERSION);
  app.add_flag("-f,--foreground", line.foreground, "stay in the foreground");
  const CLI::Option* const config =
      app.add_option("--config", line.config_path, "set up from a wg(8) file, with Address and MTU as in wg-quick(8)")
          ->type_name("FILE")
          ->expected(1);
  std::string source_ports;
  app.add_option("--source-ports", source_ports, "send from N UDP ports, or from the range LO-HI, instead of one")
      ->type_name("PORTS")
      ->expected(1);
  std::string workers;
  const CLI::Option* const wanted_workers =
      app.add_option("--workers", workers, "how many threads carry traffic: auto, 1 to 128, or on which CPUs (0-3,8)")
          ->type_name("WORKERS")
          ->expected(1);
  DpdkOptions dpdk(app);
  // Not required: CLI11 would complain of its absence before it looks at a word that it does not know.
  CLI::Option* const name = app.add_option("IFNAME", line.interface_name, "the interface to create")->type_name("");
  std::string error;
  try {
    // CLI11 takes the arguments from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    name->required();
    outcome.output = app.help();
    return outcome;
  } catch (const CLI::CallForVersion& version) {
    outcome.output = std::string(version.what()) + "\n";
    return outcome;
  } catch (const CLI::ExtrasError&) {
    error = unexpected_word_error(app.remaining(), line);
  } catch (const CLI::ArgumentMismatch& mismatch) {
    if (std::string_view(mismatch.what()).find("--source-ports") != std::string_view::npos)
      error = "--source-ports takes one number or range, such as 8 or 40000-40007";
    else if (const std::string about_dpdk = dpdk.mismatch_error(mismatch.what()); !about_dpdk.empty())
      error = about_dpdk;
    else if (std::string_view(mismatch.what()).find("--workers") != std::string_view::npos)
      error = wanted_workers->count() > 1 ? "--workers is given twice" : "--workers needs a number, a list or auto";
    else
      error = config->count() > 1 ? "--config is given twice; one culvert reads one FILE" : "--config needs a FILE";
  } catch (const CLI::ParseError& other) {
    error = other.what();
  }
  const bool named = name->count() > 0;
  name->required();  // for the usage alone
  if (error.empty() && !named) {
    error = "IFNAME is missing; ";
    error += line.config_path.empty() ? "name the interface to create, such as wg0"
                                      : "'" + line.config_path + "' was taken as the FILE of --config";
  }
  if (error.empty()) error = interface_name_error(line.interface_name);
  if (error.empty() && !source_ports.empty()) {
    line.source_ports = io::parse_source_ports(source_ports);
    if (!line.source_ports)
      error = "--source-ports '" + source_ports +
              "' is neither a number of ports, 1 to 128, nor a range of 128 at most, such as 40000-40007";
  }
  if (error.empty() && wanted_workers->count() > 0) {
    if (auto request = device::parse_worker_request(workers))
      line.workers = std::move(*request);
    else
      error = "--workers " + request.error().context;
  }
  if (error.empty()) error = dpdk.read(line.dpdk);
  if (!error.empty()) return usage_error(app, error);
  outcome.run = true;
  return outcome;
}

std::string interface_name_error(std::string_view name) {
  const std::string what = "interface name '" + std::string(name) + "' ";
  if (name.empty()) return what + "is empty; use 1 to 15 characters, for example wg0";
  if (name.size() >= IFNAMSIZ) return what + "has " + std::to_string(name.size()) + " characters; Linux allows 15";
  if (name == "." || name == "..") return what + "is a directory's; use another, for example wg0";
  const auto forbidden = [](unsigned char c) { return c == '/' || c == ':' || c == 0 || std::isspace(c) != 0; };
  if (std::any_of(name.begin(), name.end(), forbidden))
    return what + "holds a '/', a ':' or a space; Linux allows none of them";
  return "";
}

}  // namespace culvert::daemon
