#include "bench/scale_sim/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace culvert::scale_sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CommandLineOutcome parse(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return parse_command_line(words);
}

std::vector<std::string> names(const Plan& plan) {
  std::vector<std::string> names;
  for (const Arrangement& arrangement : plan.arrangements) names.push_back(arrangement.name());
  return names;
}

TEST(CommandLine, HasDefaultsForEverything) {
  const auto outcome = parse("");
  ASSERT_TRUE(outcome.run) << outcome.output;
  const Plan& plan = outcome.options.plan;
  EXPECT_THAT(plan.cores, ElementsAre(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128));
  EXPECT_THAT(names(plan), ElementsAre("plain", "8 ports", "64 ports", "group of 4", "group of 16"));
  EXPECT_THAT(plan.mixes, ElementsAre(Mix::mixed));
  EXPECT_EQ(plan.nic.model, NicModel::mlx5);
  EXPECT_EQ(plan.steering, Steering::rss);
}

TEST(CommandLine, CarriesTheValues) {
  const auto outcome = parse(
      "--cores 5-9 --ports 3 --groups 2,5 --dead 1 --mix zipf,mice --flows 77 --nic ixgbe --table 512 --hash "
      "l4-source-only --first-port 4096 --steering index --costs 333 --rounds 2 --seed 9 --svg a --json -");
  ASSERT_TRUE(outcome.run) << outcome.output;
  const Plan& plan = outcome.options.plan;
  EXPECT_THAT(plan.cores, ElementsAre(5, 6, 8, 9));
  EXPECT_THAT(names(plan), ElementsAre("plain", "3 ports", "group of 2", "group of 5"));
  EXPECT_EQ(plan.arrangements[3].dead, 1U);
  EXPECT_THAT(plan.mixes, ElementsAre(Mix::mice, Mix::zipf));
  EXPECT_EQ(plan.flows, 77U);
  EXPECT_EQ(plan.nic.model, NicModel::ixgbe);
  EXPECT_EQ(plan.nic.table_entries, 512U);
  EXPECT_EQ(plan.nic.fields, HashFields::l4_source_only);
  EXPECT_EQ(plan.first_port, 4096);
  EXPECT_EQ(plan.steering, Steering::index);
  EXPECT_EQ(plan.costs.inbound_ns, 333);
  EXPECT_EQ(plan.rounds, 2U);
  EXPECT_EQ(plan.seed, 9U);
  EXPECT_EQ(outcome.options.svg_path, "a");
  EXPECT_EQ(outcome.options.json_path, "-");
}

TEST(CommandLine, TakesListsAndWordsForNothingAndAll) {
  EXPECT_THAT(parse("--cores 8,2,2").options.plan.cores, ElementsAre(2, 8));
  EXPECT_THAT(names(parse("--ports 0 --groups 0").options.plan), ElementsAre("plain"));
  EXPECT_EQ(parse("--mix all").options.plan.mixes.size(), kMixes.size());
  EXPECT_EQ(parse("--mix all,zipf").options.plan.mixes.size(), kMixes.size());
}

TEST(CommandLine, RefusesWhatItCannotDoWithAReason) {
  struct Case {
    const char* line;
    const char* reason;
  };
  const Case cases[] = {
      {"--cores 0", "'0' is no number from 1 to 128"},
      {"--cores 129", "'129' is no number"},
      {"--cores 1,,2", "'' is no number"},
      {"--cores 8-", "'' is no number"},
      {"--cores 9-8", "ends before it starts"},
      {"--cores x", "'x' is no number"},
      {"--ports -1", "--ports"},
      {"--ports 5000", "--ports"},
      {"--groups 300", "--groups"},
      {"--groups 4 --dead 4", "leaves nobody in a group of 4"},
      {"--ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "at most 15"},
      {"--mix cats", "--mix"},
      {"--flows 0", "--flows"},
      {"--nic e1000", "--nic"},
      {"--table 64", "--table"},
      {"--hash l2", "--hash"},
      {"--first-port 65535 --ports 8", "leaves no room for 8 ports"},
      {"--steering luck", "--steering"},
      {"--costs /nowhere", "no number, nor a file"},
      {"--rounds 0", "--rounds"},
      {"--seed x", "--seed"},
      {"--fast", "--fast"},
      {"more", "more"},
  };
  for (const Case& c : cases) {
    const auto outcome = parse(c.line);
    EXPECT_FALSE(outcome.run) << c.line;
    EXPECT_EQ(outcome.exit_code, kExitUsage) << c.line;
    EXPECT_THAT(outcome.output, HasSubstr(c.reason)) << c.line;
  }
}

TEST(CommandLine, ExplainsItself) {
  const auto outcome = parse("--help");
  EXPECT_FALSE(outcome.run);
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* word : {"--cores", "--groups", "tools/scale-sim", "elephants"})
    EXPECT_THAT(outcome.output, HasSubstr(word));
}

}  // namespace
}  // namespace culvert::scale_sim
