#include "src/daemon/verbs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "src/daemon/doctor.h"
#include "src/daemon/top.h"
#include "src/daemon/up.h"

namespace culvert::daemon {

std::span<const Verb> all_verbs() {
  static constexpr std::array kVerbs = {
      Verb{"up", "[-f] FILE|NAME...", "bring tunnels up, as wg-quick(8) does", run_up},
      Verb{"down", "FILE|NAME...", "take them down again", run_down},
      Verb{"reload", "FILE|NAME...", "apply what changed in their files", run_reload},
      Verb{"check", "FILE|NAME...", "say what up would do, and what is missing", run_check},
      Verb{"status", "[--json] [NAME...]", "say how they are", run_status},
      Verb{"top", "[-n FRAMES] [IFNAME...]", "show what interfaces do, live", run_top},
      Verb{"doctor", "[ADDRESS]", "say what this host costs a tunnel, and what mends it", run_doctor},
  };
  return kVerbs;
}

const Verb* find_verb(std::span<const Verb> verbs, std::string_view program,
                      const std::vector<std::string>& arguments) {
  const std::string_view name = program.substr(program.find_last_of('/') + 1);  // npos + 1 is 0
  if (name == "wireguard-go" || arguments.empty()) return nullptr;
  const auto found =
      std::find_if(verbs.begin(), verbs.end(), [&](const Verb& verb) { return verb.name == arguments.front(); });
  return found == verbs.end() ? nullptr : &*found;
}

std::string verbs_help(std::span<const Verb> verbs) {
  std::string help;
  for (const Verb& verb : verbs) {
    const std::string usage = fmt::format("culvert {}{}{}", verb.name, verb.words.empty() ? "" : " ", verb.words);
    help += fmt::format("  {:<38} {}\n", usage, verb.summary);
  }
  return help;
}

}  // namespace culvert::daemon
