#include "src/host/host.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>
#include <utility>

#include "src/host/firewall.h"
#include "src/host/link_setup.h"
#include "src/host/name_servers.h"
#include "src/host/routes.h"
#include "src/log.h"

namespace culvert::host {
namespace {

using Kind = Step::Kind;

constexpr std::string_view kHookPrefix = "hook ";
constexpr size_t kStepsInBreath = 256;

// "net.ipv4.ip_forward" or, where a part has dots, "net/ipv6/conf/eth0.7/accept_ra" as /proc has it. A value that is
// there already needs no right to write it.
io::Status set_sysctl(const std::string& name, uint32_t value) {
  std::string path = "/proc/sys/" + name;
  if (name.find('/') == std::string::npos) std::replace(path.begin() + 10, path.end(), '.', '/');
  const std::string wanted = std::to_string(value);
  char has[16] = {};
  const io::Fd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t count = reader ? ::read(reader.get(), has, sizeof has - 1) : 0;
  if (count > 0 && std::string(has, static_cast<size_t>(count)) == wanted + "\n") return io::Success{};
  const io::Fd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!writer || ::write(writer.get(), wanted.data(), wanted.size()) != static_cast<ssize_t>(wanted.size()))
    return io::Error{errno, "set " + name + " to " + wanted};
  return io::Success{};
}

// Whether to undo it does no harm where it was never done: so the journal has it before, and no kill in between loses
// it. Of the rules that pass over main's default routes any one would go, and it may be somebody else's.
bool can_be_promised(const Step& step) {
  return outlives_interface(step) && step.kind != Kind::suppress;
}

io::Status explain_route(const device::Prefix& prefix, io::Status status) {
  if (status) return status;
  const auto& [number, context] = status.error();
  if (number == EEXIST)
    return io::Error{number,
                     context + " (another interface has it: take it from AllowedIPs, or choose a table by Table)"};
  if (prefix.version == protocol::IpVersion::v6 && (number == ENODEV || number == EINVAL || number == EACCES))
    return io::Error{number, context + " (IPv6 needs an MTU of at least 1280, and not to be disabled: net.ipv6.conf)"};
  return status;
}

}  // namespace

io::Status Host::run_all(const std::vector<Command>& commands) {
  for (const Command& command : commands)
    if (io::Status ran = helpers_.run(command); !ran) return ran;
  return io::Success{};
}

io::Status Host::go(const Step& step) {
  switch (step.kind) {
    case Kind::address:
      return add_link_addresses(interface_name_, std::span(&step.prefix, 1));
    case Kind::link:
      if (io::Status set = set_link_mtu(interface_name_, step.number); !set) return set;
      return set_link_up(interface_name_);
    case Kind::dns: {
      const DnsProgram program = find_dns_program();
      if (program == DnsProgram::none)
        return io::Error{0,
                         "DNS needs resolvconf or resolvectl: install openresolv or systemd-resolved, or take DNS "
                         "out of the file"};
      if (program == DnsProgram::resolvconf)
        if (std::string refusal = resolv_conf_refusal(); !refusal.empty()) return io::Error{0, std::move(refusal)};
      return run_all(set_dns_commands(program, resolvconf_prefix(read_interface_order()), interface_name_, step.words,
                                      step.more_words));
    }
    case Kind::mark:
      return helpers_.set_mark(step.number, 0);
    case Kind::route:
      return explain_route(step.prefix, change_route(Change::add, interface_name_, step.prefix, step.number));
    case Kind::rule:
      return change_mark_rule(Change::add, step.version, step.number);
    case Kind::suppress:
      return change_suppress_rule(Change::add, step.version);
    case Kind::sysctl:
      return set_sysctl(step.name, step.number);
    case Kind::firewall:
      return set_firewall_table(step.name, step.text);
  }
  return io::Success{};
}

io::Status Host::undo(const Step& step) {
  switch (step.kind) {
    case Kind::address:
      return remove_link_address(interface_name_, step.prefix);
    case Kind::dns:
      return run_all(
          unset_dns_commands(find_dns_program(), resolvconf_prefix(read_interface_order()), interface_name_));
    case Kind::mark:
      return helpers_.set_mark(0, step.number);
    case Kind::route:
      return change_route(Change::remove, interface_name_, step.prefix, step.number);
    case Kind::rule:
      return change_mark_rule(Change::remove, step.version, step.number);
    case Kind::suppress:
      return change_suppress_rule(Change::remove, step.version);
    case Kind::firewall:
      return remove_firewall_table(step.name);
    case Kind::link:
    case Kind::sysctl:  // others may count on it by now; wg-quick leaves it too
      return io::Success{};
  }
  return io::Success{};
}

std::vector<std::string> Host::clean_up() {
  std::vector<std::string> found;
  for (const std::string& line : journal_.lines()) {
    Step step{.kind = Kind::dns};
    io::Status cleaned = io::Success{};
    if (line.starts_with(kHookPrefix))
      cleaned = helpers_.run(hook_command(line.substr(kHookPrefix.size())));
    else if (from_journal(line, step))
      cleaned = undo(step);
    else
      continue;
    found.push_back(cleaned ? line : line + ": " + cleaned.error().text());
  }
  (void)journal_.write({});
  return found;
}

io::Status Host::change_to(std::vector<Step> after) {
  settle();
  const Difference change = difference(done_, after);
  for (size_t i = 0; i < change.go.size(); ++i) {
    if (helpers_.breathe && i % kStepsInBreath == kStepsInBreath - 1) helpers_.breathe();
    const bool promised = can_be_promised(change.go[i]);
    if (promised) note(std::span(change.go).first(i + 1));
    io::Status gone = go(change.go[i]);
    if (!gone) {
      // What failed may be there by half (a link with its MTU set but not up).
      revert(std::span(change.go).first(i));
      note({});
      return gone;
    }
    if (outlives_interface(change.go[i]) && !promised) note(std::span(change.go).first(i + 1));
  }
  bool addresses_went = false;
  size_t steps = 0;
  for (const Step& step : change.undo) {
    if (helpers_.breathe && ++steps % kStepsInBreath == 0) helpers_.breathe();
    if (const io::Status undone = undo(step); !undone) log_error("{}", undone.error().text());
    addresses_went |= step.kind == Kind::address;
  }
  done_ = std::move(after);
  if (addresses_went) ensure_routes();
  note({});
  return io::Success{};
}

// Takes back what a change has done so far: what it replaced is done once more.
void Host::revert(std::span<const Step> steps) {
  for (size_t i = steps.size(); i-- > 0;) {
    const auto before = std::find_if(done_.begin(), done_.end(), [&](const Step& step) {
      return can_replace(step) && can_replace(steps[i]) && replaces_key(step) == replaces_key(steps[i]);
    });
    const io::Status reverted = before != done_.end() ? go(*before) : undo(steps[i]);
    if (!reverted) log_error("{}", reverted.error().text());
  }
}

// With an interface's last address the kernel takes its routes, with a first one those beside it in its subnet.
void Host::ensure_routes() {
  for (const Step& step : done_) {
    if (step.kind != Kind::address && step.kind != Kind::route) continue;
    const io::Status there = go(step);
    if (!there && there.error().number != EEXIST) log_error("{}", there.error().text());
  }
}

void Host::follow(std::vector<Step> after) {
  settle();
  Difference change = difference(done_, after);
  following_ = Following{std::move(after), std::move(change)};
}

Host::Followed Host::follow_on(size_t budget) {
  Followed out;
  if (!following_) return out;
  auto& [after, change, gone, undone] = *following_;
  bool outlives = false;
  const auto keep = [&out](const io::Status& status) {
    if (!status) out.refusals.push_back(status.error().text());
  };
  for (; budget > 0 && gone < change.go.size(); --budget, ++gone) {
    keep(go(change.go[gone]));
    outlives |= outlives_interface(change.go[gone]);
  }
  for (; budget > 0 && undone < change.undo.size(); --budget, ++undone) {
    keep(undo(change.undo[undone]));
    outlives |= outlives_interface(change.undo[undone]);
  }
  out.more = gone < change.go.size() || undone < change.undo.size();
  if (outlives) note(std::span(change.go).first(gone));
  if (!out.more) {
    done_ = std::move(after);
    following_.reset();
    if (outlives) note({});
  }
  return out;
}

// What it has done on the way to a goal is done; the goal is given up.
void Host::settle() {
  if (!following_) return;
  const std::span<const Step> gone = std::span(following_->change.go).first(following_->gone);
  std::unordered_set<std::string> replaced;
  for (const Step& step : gone) replaced.insert(replaces_key(step));
  for (const Step& step : std::span(following_->change.undo).first(following_->undone))
    replaced.insert(replaces_key(step));
  std::erase_if(done_, [&](const Step& step) { return replaced.contains(replaces_key(step)); });
  done_.insert(done_.end(), gone.begin(), gone.end());
  following_.reset();
}

std::vector<std::string> Host::undo_all() {
  settle();
  std::vector<std::string> problems;
  while (!done_.empty()) {
    const Step step = std::move(done_.back());
    done_.pop_back();
    if (step.kind == Kind::address || step.kind == Kind::route || step.kind == Kind::mark) continue;
    if (!can_be_promised(step)) note({});
    if (const io::Status undone = undo(step); !undone) problems.push_back(undone.error().text());
    if (can_be_promised(step)) note({});
  }
  return problems;
}

void Host::promise_hooks(std::vector<std::string> down_hooks) {
  down_hooks_ = std::move(down_hooks);
  note({});
}

// Writes down what is done, and `more`.
void Host::note(std::span<const Step> more) {
  std::vector<std::string> lines;
  for (const std::string& hook : down_hooks_)
    if (hook.find('\n') == std::string::npos) lines.push_back(std::string(kHookPrefix) + hook);
  for (const std::span<const Step> steps : {std::span<const Step>(done_), more})
    for (const Step& step : steps)
      if (outlives_interface(step)) lines.push_back(to_journal(step));
  if (const io::Status written = journal_.write(std::move(lines)); !written)
    log_error("{}: should this process be killed, the next one finds less to clean up", written.error().text());
}

}  // namespace culvert::host
