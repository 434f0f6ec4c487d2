#include "src/daemon/up.h"

#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

#include "crypto/aead_engine.h"
#include "src/daemon/command_line.h"
#include "src/daemon/daemonize.h"
#include "src/daemon/gateway.h"
#include "src/daemon/process.h"
#include "src/daemon/requests.h"
#include "src/daemon/service_manager.h"
#include "src/host/journal.h"
#include "src/log.h"
#include "src/uapi/socket.h"

namespace culvert::daemon {
namespace {

struct Wanted {
  TunnelFile file;
  config::Config config;
};

int usage(const char* verb, const char* words) {
  std::fprintf(stderr, "usage: culvert %s %s\n", verb, words);
  return kExitUsage;
}

void say(const std::string& line) {
  std::fprintf(stderr, "culvert: %s\n", line.c_str());
}

// A manager that cannot be told gives up on us by itself; the tunnels work meanwhile.
void tell_service_manager(std::string_view state) {
  if (const io::Status told = notify_service_manager(std::getenv("NOTIFY_SOCKET"), state); !told)
    log_error("{}", told.error().text());
}

// Reads a file; what is wrong with it is said.
std::optional<Wanted> read_file(const std::string& word) {
  auto file = find_tunnel_file(word);
  if (!file) {
    say(file.error().text());
    return std::nullopt;
  }
  config::ConfigOutcome loaded = config::load_gateway_config(file->path);
  for (const std::string& error : loaded.errors) std::fprintf(stderr, "%s\n", error.c_str());
  if (!loaded) return std::nullopt;
  if (const std::string warning = open_to_the_world(file->path); !warning.empty()) say("warning: " + warning);
  return Wanted{std::move(*file), std::move(loaded.config)};
}

// Brings up what can be, and reports. What cannot leaves the others alone.
int serve(std::vector<Wanted> wanted, bool all_readable, const Environment& environment, Readiness readiness) {
  block_end_signals();
  auto gateway = Gateway::open(environment);
  if (!gateway) {
    readiness.report_failure(gateway.error().text(), kExitSetupFailed);
    say(gateway.error().text());
    return kExitSetupFailed;
  }
  std::string failures;
  std::vector<std::string> notes;
  for (Wanted& each : wanted) {
    const std::string name = each.file.name;
    if ((*gateway)->ending()) break;
    const io::Status up = (*gateway)->add(std::move(each.file), std::move(each.config), notes);
    for (const std::string& note : std::exchange(notes, {})) say(note);
    if (up) continue;
    if (!readiness.in_background()) say(name + ": " + up.error().text());
    failures += (failures.empty() ? "" : "\nculvert: ") + name + ": " + up.error().text();
  }
  if ((*gateway)->tunnels() == 0) {
    readiness.report_failure(failures, kExitSetupFailed);
    return kExitSetupFailed;
  }
  if (environment.metrics)
    if (const io::Status served = (*gateway)->serve_metrics(*environment.metrics); !served) {
      const std::string what = "Failed to serve metrics at " + served.error().text();
      if (!readiness.in_background()) say(what);
      failures += (failures.empty() ? "" : "\nculvert: ") + what;
    }
  tell_service_manager("READY=1");
  const bool failed = !failures.empty();
  readiness.report_ready_but(environment.keep_output, failures, failed ? kExitSetupFailed : kExitSuccess);
  (*gateway)->run();
  tell_service_manager("STOPPING=1");
  return failed || !all_readable ? kExitSetupFailed : kExitSuccess;
}

std::string log_name(const std::vector<Wanted>& wanted) {
  return wanted.size() == 1 ? wanted.front().file.name : "culvert";
}

// The words of a verb that takes names alone.
bool are_names(const std::vector<std::string>& words) {
  return !words.empty() &&
         std::none_of(
             words.begin(), words.end(), [](const std::string& word) { return word.starts_with('-'); });
}

// Says `verb` to whoever serves each; `none` answers for an interface that nobody serves. What is wrong is said, and so
// is what a good answer says, unless it is to be put into `answers`.
template <typename None>
int ask_each(const std::vector<std::string>& words, const char* verb, None&& none,
             std::vector<std::string>* answers = nullptr) {
  int worst = kExitSuccess;
  for (const std::string& word : words) {
    const auto name = find_tunnel_name(word);
    if (!name) {
      say(name.error().text());
      worst = kExitUsage;
      continue;
    }
    const auto reply = ask(*name, verb);
    const int code = reply ? reply->exit_code : none(*name);
    if (reply && code == kExitSuccess && answers != nullptr)
      answers->push_back(reply->text);
    else if (reply)
      std::fputs(reply->text.c_str(), stderr);
    worst = std::max(worst, code);
  }
  return worst;
}

int say_nobody_serves(const std::string& name) {
  say(name + " is not up; `culvert up " + name + "` brings it up");
  return kExitSetupFailed;
}

// Of a killed process there may be traces left, and they go.
int clean_up_after(const std::string& name) {
  auto journal = host::Journal::open(name);
  if (!journal) {
    const bool served = journal.error().number == EBUSY || journal.error().number == EXDEV;
    say(served ? journal.error().context : journal.error().text());
    return kExitSetupFailed;
  }
  const bool something = !journal->lines().empty();
  host::Host host(name, std::move(*journal),
                  {.run =
                       [](const host::Command& command) {
                         auto running = host::RunningCommand::start(command);
                         return running ? running->finish() : io::Status(running.error());
                       },
                   .set_mark = [](uint32_t, uint32_t) { return io::Success{}; }});
  for (const std::string& line : host.clean_up()) {
    std::string note = name;
    say(note.append(": cleaned up what was left: ").append(line));
  }
  host.forget();
  // A dead process's sockets lie where it listened.
  if (something && ::if_nametoindex(name.c_str()) == 0)
    for (const std::string& socket : {request_socket(name), uapi::uapi_socket_file(name)}) ::unlink(socket.c_str());
  return something ? kExitSuccess : say_nobody_serves(name);
}

}  // namespace

int run_up(const std::vector<std::string>& words) {
  std::vector<std::string> names;
  bool foreground = false;
  for (const std::string& word : words)
    if (word == "-f" || word == "--foreground")
      foreground = true;
    else
      names.push_back(word);
  if (!are_names(names)) return usage("up", "[-f|--foreground] FILE|NAME...");
  const auto environment = parse_environment([](const char* name) { return std::getenv(name); });
  if (!environment || !crypto::engine_override_error().empty()) {
    say(environment ? crypto::engine_override_error() : environment.error().text());
    return kExitUsage;
  }
  std::vector<Wanted> wanted;
  for (const std::string& name : names)
    if (std::optional<Wanted> read = read_file(name)) wanted.push_back(std::move(*read));
  const bool all_readable = wanted.size() == names.size();
  if (wanted.empty()) return kExitUsage;
  open_log(environment->log_level, log_name(wanted));
  for (const std::string& warning : environment->warnings) log_error("{}", warning);
  Readiness readiness;
  if (!foreground && !environment->foreground) {
    auto daemonized = daemonize({});
    if (!daemonized) {
      say(daemonized.error().text());
      return kExitSetupFailed;
    }
    if (!daemonized->in_child) {
      if (!daemonized->error.empty()) say(daemonized->error);
      return daemonized->exit_code != kExitSuccess || all_readable ? daemonized->exit_code : kExitUsage;
    }
    readiness = std::move(daemonized->readiness);
    if (!environment->keep_output) open_system_log(environment->log_level, log_name(wanted));
  }
  return serve(std::move(wanted), all_readable, *environment, std::move(readiness));
}

int run_down(const std::vector<std::string>& words) {
  if (!are_names(words)) return usage("down", "FILE|NAME...");
  return ask_each(words, "down", clean_up_after);
}

int run_reload(const std::vector<std::string>& words) {
  if (!are_names(words)) return usage("reload", "FILE|NAME...");
  return ask_each(words, "reload", say_nobody_serves);
}

int run_status(const std::vector<std::string>& words) {
  std::vector<std::string> names;
  bool json = false;
  for (const std::string& word : words)
    if (word == "--json")
      json = true;
    else
      names.push_back(word);
  if (!names.empty() && !are_names(names)) return usage("status", "[--json] [NAME...]");
  if (names.empty()) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(host::kRunDirectory, none))
      if (entry.path().extension() == ".sock") names.push_back(entry.path().stem());
    std::sort(names.begin(), names.end());
  }
  std::vector<std::string> answers;
  const int worst = ask_each(names, json ? kStatusJson : kStatus, say_nobody_serves, &answers);
  std::string out;
  for (const std::string& answer : answers) out += (json && !out.empty() ? "," : "") + answer;
  if (json) out = "{\"interfaces\":[" + out + "]}\n";
  std::fputs(out.c_str(), stdout);
  return worst;
}

int run_check(const std::vector<std::string>& words) {
  if (!are_names(words)) return usage("check", "FILE|NAME...");
  int worst = kExitSuccess;
  for (const std::string& word : words) {
    const std::optional<Wanted> wanted = read_file(word);
    if (!wanted) {
      worst = kExitUsage;
      continue;
    }
    const Inspection found = inspect(wanted->file, wanted->config);
    for (const std::string& line : found.plan) std::printf("[#] %s\n", line.c_str());
    for (const std::string& line : found.missing) say(wanted->file.name + ": " + line);
    if (!found.missing.empty()) worst = std::max(worst, kExitSetupFailed);
  }
  return worst;
}

}  // namespace culvert::daemon
