// The process of `culvert up`: one control loop over several tunnels, their requests and the signals.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/fd.h"
#include "io/poller.h"
#include "io/result.h"
#include "src/daemon/metrics_server.h"
#include "src/daemon/requests.h"
#include "src/daemon/tunnel.h"
#include "src/host/name_lookup.h"

namespace culvert::daemon {

// Thread safety: one thread makes and runs it. block_end_signals() was called before.
//
// Only run() and add() begin something with a tunnel. While a program runs the loops go on, and status is answered.
// What a hook asks of other tunnels is begun as well, as the hook waits for it; its own tunnel takes no requests then.
class Gateway final : public Surroundings {
 public:
  static io::Result<std::unique_ptr<Gateway>> open(const Environment& environment);
  ~Gateway() override;

  // Brings a tunnel up; an error leaves the others alone. `notes` as in Tunnel::bring_up().
  io::Status add(TunnelFile file, config::Config config, std::vector<std::string>& notes);
  size_t tunnels() const { return tunnels_.size(); }

  // Serves the metrics of all tunnels from now on. Errors: those of MetricsServer::open().
  io::Status serve_metrics(const MetricsAddress& at);

  // Until a signal, or the last tunnel is down. Takes down what is up.
  void run();

  // Surroundings.
  io::Status run(const host::Command& command) override;
  io::Status watch(Tunnel& tunnel) override;
  void forget(Tunnel& tunnel) override;
  void ask(host::NameQuestion question) override { names_->ask(std::move(question)); }
  pipeline::WorkerThreads& worker_threads() override { return worker_threads_; }
  uint64_t& next_question() override { return next_question_; }
  void breathe() override { turn(protocol::Instant{}); }
  void wait(const std::function<bool()>& done, std::chrono::nanoseconds most) override;

  // Whether a signal has come.
  bool ending() const { return ending_; }

 private:
  Gateway(const Environment& environment, io::Poller poller, io::Fd signals, std::unique_ptr<RequestServer> requests,
          std::unique_ptr<host::NameLookup> names)
      : environment_(environment),
        poller_(std::move(poller)),
        signals_(std::move(signals)),
        requests_(std::move(requests)),
        names_(std::move(names)) {}

  void turn(std::optional<protocol::Instant> until = std::nullopt);
  void run_once(Tunnel& tunnel);
  void answer_during(const host::Command& command, const host::RunningCommand& running);
  void attend_names();
  std::optional<protocol::Instant> next_follow() const;
  std::optional<std::chrono::nanoseconds> timeout(std::optional<protocol::Instant> until) const;
  void read_signals();
  void attend();
  void answer(const Request& request);
  std::string reload(Tunnel& tunnel);
  void take_down(const std::string& name, std::string& said);

  const Environment& environment_;
  io::Poller poller_;
  io::Fd signals_;
  std::unique_ptr<RequestServer> requests_;
  std::unique_ptr<host::NameLookup> names_;
  std::unique_ptr<MetricsServer> metrics_;                  // null unless asked for
  pipeline::WorkerThreads worker_threads_;                  // before the tunnels, whose workers are on them
  std::map<uint64_t, Tunnel*> watched_;                     // by tag
  std::map<uint64_t, int> programs_;                        // that run, by tag: the descriptor that says when one ends
  std::map<std::string, std::unique_ptr<Tunnel>> tunnels_;  // by name
  uint64_t next_tag_ = 16;
  uint64_t next_question_ = 1;
  bool reload_wanted_ = false;
  bool ending_ = false;
};

}  // namespace culvert::daemon
