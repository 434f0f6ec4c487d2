#include "src/daemon/tunnel.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "src/host/routes.h"
#include "src/log.h"
#include "src/pipeline/clock.h"

namespace culvert::daemon {
namespace {

constexpr uint32_t kFirstTable = 51820;           // wg-quick's
constexpr std::chrono::seconds kNamesAtStart{2};  // that names have, so that the MTU fits the way to them
constexpr size_t kStepsInTurn = 256;              // that a turn of the loop does to follow allowed IPs
// A plan grows with the number of peers. Whoever sets thousands of them one by one does not have it made for each.
constexpr int kRestAfterPlan = 9;
constexpr const char* kIpv6 = "/proc/sys/net/ipv6";

uint32_t free_table() {
  uint32_t table = kFirstTable;
  while (!host::is_empty_table(table)) ++table;
  return table;
}

// As wg-quick works it out: the widest of the ways to the endpoints, else the default route.
uint32_t widest_path(const device::DeviceState& state) {
  uint32_t widest = 0;
  for (const device::PeerState& peer : state.peers)
    if (peer.endpoint) widest = std::max(widest, host::path_mtu(peer.endpoint->remote));
  return widest != 0 ? widest : host::default_route_mtu();
}

// False with errno where it ends early.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno != EINTR) return false;
    text.remove_prefix(static_cast<size_t>(std::max<ssize_t>(count, 0)));
  }
  return true;
}

std::vector<device::Prefix> allowed_ips_of(const device::DeviceState& state) {
  std::vector<device::Prefix> out;
  for (const device::PeerState& peer : state.peers)
    out.insert(out.end(), peer.allowed_ips.begin(), peer.allowed_ips.end());
  return out;
}

}  // namespace

Tunnel::Tunnel(TunnelFile file, config::Config config, const Environment& environment, Surroundings& surroundings)
    : file_(std::move(file)), config_(std::move(config)), environment_(environment), surroundings_(surroundings) {}

Tunnel::~Tunnel() {
  if (watched_) surroundings_.forget(*this);
}

io::Status Tunnel::bring_up(std::vector<std::string>& notes) {
  if (io::Status claimed = claim(notes); !claimed) return claimed;
  io::Status up = start();
  if (up) return up;
  for (const std::string& problem : abandon()) log_error("{}", problem);
  if (const io::Status hooks = run_hooks(config_.host.post_down); !hooks) log_error("{}", hooks.error().text());
  host_->forget();
  return up;
}

// Makes the interface's name ours, and the host clean of whoever had it before.
io::Status Tunnel::claim(std::vector<std::string>& notes) {
  auto journal = host::Journal::open(name());
  if (!journal && journal.error().number == EBUSY)
    return io::Error{0, "it is up already; `culvert reload " + name() + "` applies changes of its file"};
  if (!journal && journal.error().number == EXDEV)
    return io::Error{0, journal.error().context + ", and names are shared by all of them; give the file another name"};
  if (!journal) return journal.error();
  host_ = std::make_unique<host::Host>(
      name(), std::move(*journal),
      host::Helpers{[this](const host::Command& command) { return surroundings_.run(command); },
                    [this](uint32_t mark, uint32_t only_if) { return set_mark(mark, only_if); },
                    [this] { surroundings_.breathe(); }});
  for (const std::string& line : host_->clean_up()) notes.push_back(name() + ": cleaned up what was left: " + line);
  if (::if_nametoindex(name().c_str()) == 0) return io::Success{};
  host_->forget();
  return io::Error{0, "there is an interface " + name() + " already; delete it by `ip link delete " + name() +
                          "`, or give the file another name"};
}

io::Status Tunnel::start() {
  promise_hooks();
  if (io::Status hooks = run_hooks(config_.host.pre_up); !hooks) return hooks;
  auto tun = open_tun(name(), environment_, config_.short_queues);
  if (!tun) return tun.error();
  auto interface = Interface::open(
      name(), std::move(*tun), environment_, Interface::Process::gateway,
      {.workers = config_.workers, .dpdk = config_.dpdk, .mtu = {}, .threads = &surroundings_.worker_threads()});
  if (!interface) return interface.error();
  interface_ = std::move(*interface);
  if (io::Status watched = surroundings_.watch(*this); !watched) return watched;
  watched_ = true;
  ControlLoop& loop = interface_->loop();
  if (io::Status applied = loop.turn([&](device::Device& target) { return config::apply_config(config_, target); });
      !applied)
    return applied;
  forget_keys();
  find_names();
  gather_facts();
  if (io::Status changed = host_->change_to(make_plan(config_.host)); !changed) return changed;
  if (io::Status served = loop.follow_link(); !served) return served;
  followed_operations_ = interface_->device().operations();
  return run_hooks(config_.host.post_up);
}

void Tunnel::gather_facts() {
  facts_.interface_name = name();
  choose_mark();
  facts_.path_mtu = widest_path(interface_->device().state());
  facts_.ipv6 = ::access(kIpv6, F_OK) == 0;
  facts_.router_interfaces = host::interfaces_of_routers(config_.host.masquerade);
}

// A mark that we do not use yet has to be one whose table nobody has taken meanwhile.
void Tunnel::choose_mark() {
  const std::vector<host::Step>& done = host_->done();
  if (std::none_of(done.begin(), done.end(),
                   [](const host::Step& step) { return step.kind == host::Step::Kind::mark; }))
    facts_.automatic_mark = free_table();
}

// What does not resolve now is asked for again by and by.
void Tunnel::find_names() {
  if (!config_.host.dns_servers.empty()) {
    std::ifstream file("/etc/resolv.conf");
    name_servers_ = host::servers_of({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
  }
  const protocol::Instant now = pipeline::read_boot_clock();
  names_.set(config_, now);
  attend_names(now);
  if (!names_.empty()) surroundings_.wait([this] { return names_.all_answered(); }, kNamesAtStart);
}

void Tunnel::attend_names(protocol::Instant now) {
  if (names_.empty()) return;
  const device::Device& device = interface_->device();
  const std::vector<EndpointNames::Question> questions = names_.due(now, surroundings_.next_question());
  for (const EndpointNames::Question& question : questions)
    surroundings_.ask({question.id, question.host, name_servers_, device.fwmark()});
  change_endpoints(
      names_.look(now, device.initiations(), [&](const device::Key& peer) { return device.contact(peer); }));
}

void Tunnel::answered(const host::NameAnswer& answer, protocol::Instant now) {
  if (const std::string host = names_.newly_failing(answer.id); !host.empty() && answer.addresses.empty())
    log_error("The endpoint {} cannot be found ({}); trying again", host, answer.error);
  if (auto change = names_.answered(answer.id, answer.addresses, now)) change_endpoints({std::move(*change)});
}

void Tunnel::change_endpoints(const std::vector<EndpointNames::Change>& changes) {
  if (changes.empty()) return;
  interface_->loop().turn([&](device::Device& target) {
    for (const EndpointNames::Change& change : changes) {
      log_verbose("{} is tried at {}{}{}", change.host, io::to_string(change.endpoint), change.rival ? " and " : "",
                  change.rival ? io::to_string(*change.rival) : "");
      target.try_endpoint(change.peer, change.endpoint, change.rival);
    }
    return io::Success{};
  });
}

std::vector<host::Step> Tunnel::make_plan(const host::Settings& settings) const {
  const device::DeviceState state = interface_->device().state();
  host::Facts facts = facts_;
  facts.fwmark = state.fwmark;
  return host::plan(settings, facts, allowed_ips_of(state));
}

io::Status Tunnel::run_hooks(const std::vector<std::string>& hooks) {
  for (const std::string& hook : hooks)
    if (io::Status ran = surroundings_.run(host::hook_command(host::expand_hook(hook, name()))); !ran) return ran;
  return io::Success{};
}

void Tunnel::promise_hooks() {
  std::vector<std::string> hooks;
  for (const auto& list : {config_.host.pre_down, config_.host.post_down})
    for (const std::string& hook : list) hooks.push_back(host::expand_hook(hook, name()));
  host_->promise_hooks(std::move(hooks));
}

io::Status Tunnel::set_mark(uint32_t mark, uint32_t only_if) {
  if (interface_ == nullptr || (only_if != 0 && interface_->device().fwmark() != only_if)) return io::Success{};
  const int number = interface_->loop().turn([mark](device::Device& target) { return target.set_fwmark(mark); });
  if (number != 0) return io::Error{number, "mark what the tunnel sends with " + std::to_string(mark)};
  return io::Success{};
}

// The keys are the device's alone from now on.
void Tunnel::forget_keys() {
  config_.private_key.wipe();
  for (config::ConfigPeer& peer : config_.peers) peer.preshared_key.wipe();
}

// Takes everything back but the hooks.
std::vector<std::string> Tunnel::abandon() {
  std::vector<std::string> problems = host_->undo_all();
  if (watched_) surroundings_.forget(*this);
  watched_ = false;
  interface_.reset();
  return problems;
}

std::vector<std::string> Tunnel::take_down() {
  std::vector<std::string> problems;
  const auto keep = [&](const io::Status& status) {
    if (!status) problems.push_back(status.error().text());
  };
  keep(run_hooks(config_.host.pre_down));
  if (config_.host.save) keep(save());
  const std::vector<std::string> undone = abandon();
  problems.insert(problems.end(), undone.begin(), undone.end());
  keep(run_hooks(config_.host.post_down));
  host_->forget();
  return problems;
}

// In one step: whoever reads the file sees the old text or the new one.
io::Status Tunnel::save() {
  const crypto::SecretString text = config::print_config(config_, interface_->device().state());
  const std::string fresh = file_.path + ".tmp";
  const std::string action = "save the configuration to " + file_.path;
  const io::Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  const bool written = file && write_all(file.get(), text) && ::fsync(file.get()) == 0 &&
                       ::rename(fresh.c_str(), file_.path.c_str()) == 0;
  if (written) return io::Success{};
  const int number = errno;
  if (file) ::unlink(fresh.c_str());
  return io::Error{number, action};
}

// The device as `now` was before a reload that failed; what the file has meanwhile is `after`.
void Tunnel::return_to(const device::DeviceState& now, const config::Config& after) {
  config_.private_key = now.private_key.clone();
  std::map<device::Key, const device::PeerState*> lives;
  for (const device::PeerState& live : now.peers) lives.emplace(live.public_key, &live);
  for (config::ConfigPeer& peer : config_.peers)
    if (const auto live = lives.find(peer.public_key); live != lives.end())
      peer.preshared_key = live->second->preshared_key.clone();
  const device::DeviceState half = interface_->device().state();
  const io::Status returned = interface_->loop().turn(
      [&](device::Device& target) { return config::sync_config(after, config_, half, target); });
  if (!returned) log_error("{}", returned.error().text());
  forget_keys();
}

std::vector<std::string> Tunnel::reload() {
  config::ConfigOutcome loaded = config::load_gateway_config(file_.path);
  if (!loaded) return loaded.errors;
  config::Config& after = loaded.config;
  ControlLoop& loop = interface_->loop();
  const device::DeviceState now = interface_->device().state();
  const io::Status synced =
      loop.turn([&](device::Device& target) { return config::sync_config(config_, after, now, target); });
  choose_mark();
  facts_.router_interfaces = host::interfaces_of_routers(after.host.masquerade);
  const io::Status changed = synced ? host_->change_to(make_plan(after.host)) : synced;
  if (!changed) {
    return_to(now, after);
    return {file_.path + ": " + changed.error().text() + "; everything stays as it was"};
  }
  followed_operations_ = interface_->device().operations();
  config_ = std::move(after);
  forget_keys();
  promise_hooks();
  names_.set(config_, pipeline::read_boot_clock());
  return {};
}

std::optional<protocol::Instant> Tunnel::next_follow() const {
  if (host_->following()) return protocol::Instant{};
  if (interface_->device().operations() != followed_operations_) return plan_again_at_;
  return std::nullopt;
}

void Tunnel::follow() {
  const uint64_t operations = interface_->device().operations();
  const protocol::Instant began = pipeline::read_boot_clock();
  if (operations != followed_operations_ && began >= plan_again_at_) {
    followed_operations_ = operations;
    choose_mark();
    host_->follow(make_plan(config_.host));
    const protocol::Instant ended = pipeline::read_boot_clock();
    plan_again_at_ = ended + kRestAfterPlan * (ended - began);
  }
  if (!host_->following()) return;
  const host::Host::Followed followed = host_->follow_on(kStepsInTurn);
  for (const std::string& refusal : followed.refusals) log_error("{}", refusal);
  if (followed.more) return;
  // `wg syncconf` clears a mark that its file does not name.
  for (const host::Step& step : host_->done())
    if (step.kind == host::Step::Kind::mark && interface_->device().fwmark() != step.number)
      if (const io::Status marked = set_mark(step.number, 0); !marked) log_error("{}", marked.error().text());
}

std::string Tunnel::status(StatusForm form) const {
  return print_status({name(), file_.path, interface_->device().state(), host_->done(), config_}, form);
}

}  // namespace culvert::daemon
