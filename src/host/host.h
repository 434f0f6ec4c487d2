// Does and undoes the steps of a plan. All netlink, nftables and sysctl happens in this process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/result.h"
#include "src/host/command.h"
#include "src/host/journal.h"
#include "src/host/plan.h"

namespace culvert::host {

// What the host cannot do by itself.
struct Helpers {
  // Runs a program to its end while the control loop goes on.
  std::function<io::Status(const Command& command)> run;
  // Sets the mark of the device's sockets; `only_if` is one that it must have before (0: any).
  std::function<io::Status(uint32_t mark, uint32_t only_if)> set_mark;
  // Lets the control loops turn once, in the middle of a change of thousands of steps; may be empty.
  std::function<void()> breathe = {};
};

// The host's side of one tunnel: the steps that are done, and what of them is in the journal.
//
// Thread safety: none; owned by the control thread, in the network namespace of the interface.
class Host {
 public:
  Host(std::string interface_name, Journal journal, Helpers helpers)
      : interface_name_(std::move(interface_name)), journal_(std::move(journal)), helpers_(std::move(helpers)) {}
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Undoes what a killed process has left, its down hooks included, and says what that was.
  std::vector<std::string> clean_up();

  // Brings the host from what is done to `after`. All or nothing: on an error it is as it was.
  io::Status change_to(std::vector<Step> after);
  // Likewise, but step by step, and past what is refused: routes that follow what somebody set. follow() takes the
  // goal, also before the last one is reached; follow_on() does `budget` steps at most.
  struct Followed {
    std::vector<std::string> refusals;
    bool more = false;
  };
  void follow(std::vector<Step> after);
  bool following() const { return following_.has_value(); }
  Followed follow_on(size_t budget);
  // Before the interface goes, and with it what is its own: undoes all else that is done. Goes on past errors and says
  // what they were.
  std::vector<std::string> undo_all();

  // Hooks that are to run should this process be killed, for clean_up().
  void promise_hooks(std::vector<std::string> down_hooks);

  // While it follows: as before.
  const std::vector<Step>& done() const { return done_; }

  // Everything is undone: the journal goes.
  void forget() { journal_.remove(); }

 private:
  // From `done_` to `after`, with so many steps behind us.
  struct Following {
    std::vector<Step> after;
    Difference change;
    size_t gone = 0, undone = 0;
  };

  io::Status go(const Step& step);
  io::Status undo(const Step& step);
  io::Status run_all(const std::vector<Command>& commands);
  void revert(std::span<const Step> steps);
  void ensure_routes();
  void settle();
  void note(std::span<const Step> more);

  const std::string interface_name_;
  Journal journal_;
  const Helpers helpers_;
  std::vector<Step> done_;
  std::optional<Following> following_;
  std::vector<std::string> down_hooks_;
};

}  // namespace culvert::host
