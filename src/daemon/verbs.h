// What culvert does beside being wireguard-go's drop-in: culvert VERB [WORD...].
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace culvert::daemon {

struct Verb {
  std::string_view name;
  std::string_view words;    // for the usage, such as "[--json] [IFNAME...]"; "" takes none
  std::string_view summary;  // a line for --help
  // `words` follow the verb. Yields the exit code.
  int (*run)(const std::vector<std::string>& words);
};

// All there are, in the order of --help. Constant.
std::span<const Verb> all_verbs();

// The verb that `program` was asked for, or null: then the command line is the drop-in's. The first argument alone
// decides, so an interface named like a verb is `culvert -f NAME` or `culvert -- NAME`. Called by the name of
// wireguard-go, there are no verbs: scripts written for it may name an interface as they like. Pure.
const Verb* find_verb(std::span<const Verb> verbs, std::string_view program, const std::vector<std::string>& arguments);

// Lines for --help: usage and summary of each. "" for none. Pure.
std::string verbs_help(std::span<const Verb> verbs);

}  // namespace culvert::daemon
