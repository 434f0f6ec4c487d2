#include "src/daemon/verbs.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace culvert::daemon {
namespace {

constexpr std::array<Verb, 2> kVerbs = {{
    {"status", "[--json] [IFNAME...]", "what interfaces do", [](const std::vector<std::string>&) { return 0; }},
    {"top", "", "what they do, live", [](const std::vector<std::string>&) { return 0; }},
}};

TEST(Verbs, TheFirstArgumentDecides) {
  struct Case {
    const char* name;
    const char* program;
    std::vector<std::string> arguments;
    const char* verb;  // "" for the drop-in
  };
  const std::vector<Case> cases = {
      {"a verb alone", "culvert", {"top"}, "top"},
      {"a verb with words", "/usr/bin/culvert", {"status", "--json", "wg0"}, "status"},
      {"nothing", "culvert", {}, ""},
      {"an interface", "culvert", {"wg0"}, ""},
      {"the beginning of a verb", "culvert", {"stat"}, ""},
      {"an interface named like a verb, after an option", "culvert", {"-f", "top"}, ""},
      {"an interface named like a verb, after two dashes", "culvert", {"--", "top"}, ""},
      {"under the name of wireguard-go", "/usr/bin/wireguard-go", {"top"}, ""},
      {"under that name without a folder", "wireguard-go", {"top"}, ""},
      {"under a name that ends like it", "/opt/no-wireguard-go", {"top"}, "top"},
  };
  for (const Case& c : cases) {
    const Verb* const verb = find_verb(kVerbs, c.program, c.arguments);
    EXPECT_EQ(verb == nullptr ? "" : verb->name, c.verb) << c.name;
  }
}

TEST(Verbs, HelpHasALineForEach) {
  EXPECT_EQ(verbs_help(kVerbs),
            "  culvert status [--json] [IFNAME...]    what interfaces do\n"
            "  culvert top                            what they do, live\n");
}

TEST(Verbs, EachHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (const Verb& verb : all_verbs()) EXPECT_TRUE(names.insert(verb.name).second) << verb.name;
}

}  // namespace
}  // namespace culvert::daemon
