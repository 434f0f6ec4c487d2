// Programs that we run: hooks, and those that keep the host's resolv.conf. Nothing else is left to programs.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "io/fd.h"
#include "io/result.h"

namespace culvert::host {

struct Command {
  std::vector<std::string> words;  // the first is looked up in PATH
  std::string input;               // what it reads on its standard input
  std::string title;               // for errors; "": its first word
  bool is_hook = false;            // runs while its tunnel is either not up yet or up no more
};

// A hook's, run as wg-quick(8) runs it: by bash where there is one, ending at the first failure.
Command hook_command(const std::string& line);

// Whether PATH has a program of that name.
bool has_program(const std::string& name);

// A program that runs. Its signals are as after a login, its output is ours.
//
// Thread safety: none; one owner, who waits for it: a program that still runs when this ends becomes a zombie.
class RunningCommand {
 public:
  static io::Result<RunningCommand> start(const Command& command);

  // Readable once it has ended. Constant.
  int fd() const { return ended_.get(); }
  // Whether a process is this one, or was started by it or by one that was. False where there is no /proc.
  bool started(pid_t process) const;
  // Asks it to end (SIGTERM).
  void end() const;
  // Its outcome, once fd() is readable (else this waits): an error names the program and its status.
  io::Status finish();

 private:
  RunningCommand(std::string name, pid_t process, io::Fd ended)
      : name_(std::move(name)), process_(process), ended_(std::move(ended)) {}

  std::string name_;
  pid_t process_;
  io::Fd ended_;
};

}  // namespace culvert::host
