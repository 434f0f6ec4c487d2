#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "bench/scale_sim/costs.h"

namespace culvert::scale_sim {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

struct Outcome {
  int exit_code;
  std::string output;  // both of it
};

Outcome run_line(const std::string& line) {
  std::FILE* const pipe = popen((line + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> part;
  for (size_t bytes; (bytes = std::fread(part.data(), 1, part.size(), pipe)) > 0;) output.append(part.data(), bytes);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

Outcome run(const std::string& arguments) {
  return run_line(SCALE_SIM " " + arguments);
}

const std::string kSmall = "--cores 1,2 --flows 50 --rounds 1 ";

TEST(Program, PrintsTablesAndWritesFiles) {
  const std::string folder = std::filesystem::temp_directory_path() / ("scale_sim." + std::to_string(getpid()));
  ASSERT_TRUE(std::filesystem::create_directory(folder));
  const Outcome done = run(kSmall + "--svg " + folder + "/a.svg --json " + folder + "/a.json");
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_THAT(done.output, HasSubstr("A plain"));
  std::ifstream json(folder + "/a.json");
  EXPECT_EQ(nlohmann::json::parse(json)["mixes"].size(), 1U);
  EXPECT_GT(std::filesystem::file_size(folder + "/a.svg"), 1000U);
  std::filesystem::remove_all(folder);
}

TEST(Program, PrintsJsonAloneWhenItIsAskedTo) {
  const Outcome done = run(kSmall + "--json -");
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_TRUE(nlohmann::json::accept(done.output)) << done.output;
}

TEST(Program, SaysWhatItCannotWrite) {
  const Outcome none = run(kSmall + "--svg /nowhere/a.svg");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.output, HasSubstr("/nowhere/a.svg: No such file"));
  const Outcome full = run(kSmall + "--json /dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.output, HasSubstr("/dev/full: No space left"));
  const Outcome unheard = run(kSmall + "> /dev/full");
  EXPECT_EQ(unheard.exit_code, 1);
}

TEST(Program, IsExplainedByItsScriptToTheLastOption) {
  const std::string script = run_line(SCALE_SIM_SCRIPT " --help").output, program = run("--help").output;
  int options = 0;
  for (size_t at = 0; (at = program.find("\n  --", at)) != std::string::npos; ++at, ++options)
    EXPECT_THAT(script, HasSubstr(program.substr(at, program.find(' ', at + 4) - at + 1)));
  EXPECT_EQ(options, 16);
  const Costs costs;
  for (const auto& [name, value] : {std::pair{"outbound", costs.outbound_ns},
                                    {"inbound", costs.inbound_ns},
                                    {"wakeup", costs.wakeup_ns},
                                    {"handover", costs.handover_ns},
                                    {"shared", costs.shared_ns},
                                    {"batch", costs.batch},
                                    {"bytes", costs.bytes}})
    EXPECT_THAT(script, ContainsRegex(std::string(name) + " " + std::to_string(std::lround(value)) + "[^0-9]"));
}

TEST(Program, RefusesWrongWords) {
  const Outcome wrong = run("--cores many");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.output, HasSubstr("scale-sim: --cores"));
}

}  // namespace
}  // namespace culvert::scale_sim
