#include "src/daemon/gateway.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include "src/daemon/command_line.h"
#include "src/daemon/metrics.h"
#include "src/daemon/metrics_page.h"
#include "src/daemon/process.h"
#include "src/log.h"
#include "src/pipeline/clock.h"

namespace culvert::daemon {
namespace {

enum Tag : uint64_t { kTagSignals, kTagRequests, kTagNames, kTagMetrics };

// SIGHUP reloads, whatever whoever started us does with it.
sigset_t gateway_signals() {
  sigset_t set = end_signals();
  sigaddset(&set, SIGHUP);
  return set;
}

std::string lines_of(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

}  // namespace

io::Result<std::unique_ptr<Gateway>> Gateway::open(const Environment& environment) {
  const sigset_t set = gateway_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  io::Fd signals(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals) return io::Error{errno, "open a signalfd"};
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto requests = RequestServer::open();
  if (!requests) return requests.error();
  auto names = host::NameLookup::open();
  if (!names) return names.error();
  std::unique_ptr<Gateway> gateway(
      new Gateway(environment, std::move(*poller), std::move(signals), std::move(*requests), std::move(*names)));
  for (const auto& [fd, tag] : std::array<std::pair<int, Tag>, 3>{{{gateway->signals_.get(), kTagSignals},
                                                                   {gateway->requests_->fd(), kTagRequests},
                                                                   {gateway->names_->fd(), kTagNames}}})
    if (io::Status added = gateway->poller_.add(fd, tag); !added) return added.error();
  return gateway;
}

Gateway::~Gateway() = default;

io::Status Gateway::add(TunnelFile file, config::Config config, std::vector<std::string>& notes) {
  auto tunnel = std::make_unique<Tunnel>(std::move(file), std::move(config), environment_, *this);
  const std::string name = tunnel->name();
  if (tunnels_.contains(name)) return io::Error{0, name + " is named twice"};
  if (io::Status up = tunnel->bring_up(notes); !up) return up;
  tunnels_[name] = std::move(tunnel);
  if (io::Status listening = requests_->listen(name); !listening) {
    std::string said;
    take_down(name, said);
    return listening;
  }
  log_verbose("{} is up", name);
  return io::Success{};
}

io::Status Gateway::serve_metrics(const MetricsAddress& at) {
  const auto devices = [this] {
    std::vector<const device::Measured*> all;
    for (const auto& [name, tunnel] : tunnels_) all.push_back(&tunnel->interface().device());
    return all;
  };
  auto server = MetricsServer::open(
      at, {.metrics = [devices, each = at.each_peer] { return pieces_of(MetricsPage(devices, each)); },
           .health =
               [devices] {
                 const auto all = devices();
                 return all.empty() ? std::string("ok\n") : health_text(all.front()->metrics());
               }});
  if (!server) return server.error();
  metrics_ = std::move(*server);
  return poller_.add(metrics_->fd(), kTagMetrics);
}

io::Status Gateway::watch(Tunnel& tunnel) {
  const uint64_t tag = next_tag_++;
  if (io::Status added = poller_.add(tunnel.interface().loop().fd(), tag); !added) return added;
  watched_[tag] = &tunnel;
  return io::Success{};
}

void Gateway::forget(Tunnel& tunnel) {
  (void)poller_.remove(tunnel.interface().loop().fd());
  std::erase_if(watched_, [&](const auto& entry) { return entry.second == &tunnel; });
}

io::Status Gateway::run(const host::Command& command) {
  const std::string title = command.title.empty() ? command.words.front() : command.title;
  log_verbose("Running {}", title);
  auto running = host::RunningCommand::start(command);
  if (!running) return running.error();
  const uint64_t tag = next_tag_++;
  if (io::Status added = poller_.add(running->fd(), tag); !added) {
    (void)running->finish();
    return added;
  }
  programs_[tag] = running->fd();
  const bool was_ending = ending_;
  bool told = false;
  while (programs_.contains(tag)) {
    turn();
    answer_during(command, *running);
    // Whoever ends us while we come up does not want to wait for a hook that sleeps.
    if (ending_ && !was_ending && !std::exchange(told, true)) running->end();
  }
  return running->finish();
}

// Of requests those that cannot wait for the program's end, as the program waits for them.
void Gateway::answer_during(const host::Command& command, const host::RunningCommand& running) {
  const auto is_begun = [&](const Request& request) { return command.is_hook || request.verb.starts_with(kStatus); };
  const auto fits = [&](const Request& request) { return is_begun(request) || running.started(request.process); };
  for (Request request = requests_->next(fits); request.client != 0; request = requests_->next(fits))
    if (is_begun(request))
      answer(request);
    else
      requests_->reply(request.client, kExitSetupFailed,
                       "a tunnel is being changed, which waits for the program that asks for this\n");
}

// Waits for something to happen to any of them, and attends to it; begins nothing.
void Gateway::turn(std::optional<protocol::Instant> until) {
  std::array<io::PollEvent, 16> events;
  for (const io::PollEvent& event : poller_.wait(events, timeout(until)))
    if (event.tag == kTagSignals)
      read_signals();
    else if (event.tag == kTagRequests)
      requests_->handle_events();
    else if (event.tag == kTagMetrics)
      metrics_->handle_events(pipeline::read_boot_clock());
    else if (const auto program = programs_.find(event.tag); program != programs_.end()) {
      (void)poller_.remove(program->second);
      programs_.erase(program);
    } else if (const auto at = watched_.find(event.tag); at != watched_.end())
      run_once(*at->second);
  attend_names();
}

// Of several tunnels the log says which one it is about.
void Gateway::run_once(Tunnel& tunnel) {
  if (watched_.size() > 1) set_log_subject(tunnel.name());
  tunnel.interface().loop().run_once();
  set_log_subject("");
}

std::optional<std::chrono::nanoseconds> Gateway::timeout(std::optional<protocol::Instant> until) const {
  constexpr std::chrono::nanoseconds kNow{0};
  for (const auto& [tag, tunnel] : watched_)
    if (const auto next = tunnel->next_names()) until = std::min(until.value_or(*next), *next);
  std::optional<std::chrono::nanoseconds> wait = names_->timeout();
  if (!until) return wait;
  const std::chrono::nanoseconds left = std::max(kNow, std::chrono::nanoseconds(*until - pipeline::read_boot_clock()));
  return std::min(wait.value_or(left), left);
}

void Gateway::attend_names() {
  const protocol::Instant now = pipeline::read_boot_clock();
  for (const auto& [tag, tunnel] : watched_) tunnel->attend_names(now);
  for (const host::NameAnswer& answer : names_->handle_events())
    for (const auto& [tag, tunnel] : watched_) tunnel->answered(answer, now);
}

void Gateway::wait(const std::function<bool()>& done, std::chrono::nanoseconds most) {
  const protocol::Instant until = pipeline::read_boot_clock() + most;
  while (!ending_ && !done() && pipeline::read_boot_clock() < until) turn(until);
}

void Gateway::read_signals() {
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal)
    (signal.ssi_signo == SIGHUP ? reload_wanted_ : ending_) = true;
}

void Gateway::run() {
  while (!ending_ && !tunnels_.empty()) {
    turn(next_follow());
    attend();
  }
  while (!tunnels_.empty()) {
    std::string said;
    take_down(tunnels_.begin()->first, said);
  }
  log_verbose("Shutting down");
}

std::optional<protocol::Instant> Gateway::next_follow() const {
  std::optional<protocol::Instant> soonest;
  for (const auto& [name, tunnel] : tunnels_)
    if (const auto next = tunnel->next_follow()) soonest = std::min(soonest.value_or(*next), *next);
  return soonest;
}

// What is to begin: routes that follow, requests, reloads, and tunnels whose interface somebody took.
void Gateway::attend() {
  std::vector<std::string> ended;
  for (const auto& [name, tunnel] : tunnels_)
    if (tunnel->interface().loop().ended())
      ended.push_back(name);
    else
      tunnel->follow();
  for (const std::string& name : ended) {
    std::string said;
    take_down(name, said);
  }
  if (std::exchange(reload_wanted_, false))
    for (const auto& [name, tunnel] : tunnels_)
      if (const std::string wrong = reload(*tunnel); !wrong.empty()) log_error("{}", wrong);
  const auto any = [](const Request&) { return true; };
  for (Request request = requests_->next(any); request.client != 0; request = requests_->next(any)) answer(request);
}

void Gateway::answer(const Request& request) {
  const auto at = tunnels_.find(request.interface_name);
  if (at == tunnels_.end()) return requests_->reply(request.client, kExitSetupFailed, "it is down\n");
  std::string said;
  if (request.verb == "down") {
    take_down(request.interface_name, said);
    // It is down, whatever a hook thought of that.
    return requests_->reply(request.client, kExitSuccess, said);
  }
  if (request.verb == "reload") {
    said = reload(*at->second);
    return requests_->reply(request.client, said.empty() ? kExitSuccess : kExitSetupFailed, said);
  }
  if (request.verb == kStatus)
    return requests_->reply(request.client, kExitSuccess, at->second->status(StatusForm::text));
  if (request.verb == kStatusJson)
    return requests_->reply(request.client, kExitSuccess, at->second->status(StatusForm::json));
  requests_->reply(request.client, kExitUsage, "nobody knows the request\n");
}

std::string Gateway::reload(Tunnel& tunnel) {
  const std::vector<std::string> errors = tunnel.reload();
  if (errors.empty()) log_verbose("{} has its new configuration", tunnel.name());
  return lines_of(errors);
}

void Gateway::take_down(const std::string& name, std::string& said) {
  requests_->stop_listening(name);
  const auto taken = tunnels_.extract(name);  // `name` may be its key
  if (taken.empty()) return;                  // by a hook of another tunnel, in the meantime
  for (const std::string& problem : taken.mapped()->take_down()) {
    log_error("{}", problem);
    said += problem + "\n";
  }
  log_verbose("{} is down", taken.key());
}

}  // namespace culvert::daemon
