// One tunnel of `culvert up`, from its file to a running VPN and back.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/result.h"
#include "src/config/config.h"
#include "src/daemon/endpoint_names.h"
#include "src/daemon/environment.h"
#include "src/daemon/interface.h"
#include "src/daemon/status.h"
#include "src/daemon/tunnel_file.h"
#include "src/host/host.h"
#include "src/host/name_lookup.h"

namespace culvert::daemon {

class Tunnel;

// What a tunnel asks of the process around it.
class Surroundings {
 public:
  virtual ~Surroundings() = default;

  // Runs a program to its end; the control loops of all tunnels go on meanwhile, as a hook may call wg(8).
  virtual io::Status run(const host::Command& command) = 0;
  // Turns the tunnel's loop whenever it has something to do, from now on; and no longer.
  virtual io::Status watch(Tunnel& tunnel) = 0;
  virtual void forget(Tunnel& tunnel) = 0;
  // Asks for a name; the tunnel's answered() is called with the answer.
  virtual void ask(host::NameQuestion question) = 0;
  // Threads for workers, which all tunnels share.
  virtual pipeline::WorkerThreads& worker_threads() = 0;
  // A number for a question, used once.
  virtual uint64_t& next_question() = 0;
  // Turns all loops once, and waits for nothing.
  virtual void breathe() = 0;
  // Goes on with everything else until `done` or `most` has passed.
  virtual void wait(const std::function<bool()>& done, std::chrono::nanoseconds most) = 0;
};

// Thread safety: the control thread alone. bring_up() once; take_down() once after it has succeeded.
class Tunnel {
 public:
  Tunnel(TunnelFile file, config::Config config, const Environment& environment, Surroundings& surroundings);
  ~Tunnel();
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  // All or nothing, in wg-quick(8)'s order. `notes` gets a line for what a killed process had left.
  io::Status bring_up(std::vector<std::string>& notes);
  // Hooks, SaveConfig, and the host as it was; goes on past errors. What went wrong, a line each.
  std::vector<std::string> take_down();
  // Applies what has changed in the file and touches nothing else. All or nothing; errors, a line each.
  std::vector<std::string> reload();
  std::string status(StatusForm form) const;

  const std::string& name() const { return file_.name; }
  // Its interface, between bring_up() and take_down().
  Interface& interface() { return *interface_; }

  // Names of endpoints: does what is due, takes an answer, and says when to come again.
  void attend_names(protocol::Instant now);
  void answered(const host::NameAnswer& answer, protocol::Instant now);
  std::optional<protocol::Instant> next_names() const { return names_.next(); }

  // Has routes follow what somebody has set, a part of the way each time. It is to be called again at next_follow();
  // nothing: not before something is set.
  void follow();
  std::optional<protocol::Instant> next_follow() const;

 private:
  io::Status claim(std::vector<std::string>& notes);
  io::Status start();
  void gather_facts();
  void choose_mark();
  void find_names();
  void return_to(const device::DeviceState& now, const config::Config& after);
  void change_endpoints(const std::vector<EndpointNames::Change>& changes);
  std::vector<host::Step> make_plan(const host::Settings& settings) const;
  io::Status run_hooks(const std::vector<std::string>& hooks);
  void promise_hooks();
  std::vector<std::string> abandon();
  io::Status set_mark(uint32_t mark, uint32_t only_if);
  io::Status save();
  void forget_keys();

  const TunnelFile file_;
  config::Config config_;  // without keys once they are the device's
  const Environment& environment_;
  Surroundings& surroundings_;
  host::Facts facts_;
  EndpointNames names_;
  std::string name_servers_;  // those from before ours, when the tunnel brings some; "": whatever resolv.conf says
  std::unique_ptr<host::Host> host_;
  std::unique_ptr<Interface> interface_;
  bool watched_ = false;
  uint64_t followed_operations_ = 0;
  protocol::Instant plan_again_at_{};
};

// What is missing on this host for the plan, a line each, and the plan itself for `culvert check`. Changes nothing.
struct Inspection {
  std::vector<std::string> plan, missing;
};
Inspection inspect(const TunnelFile& file, const config::Config& config);

}  // namespace culvert::daemon
