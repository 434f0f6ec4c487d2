#include "src/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace culvert {
namespace {

using ::testing::MatchesRegex;

std::string log_both(LogLevel level, const std::string& interface_name) {
  open_log(level, interface_name);
  ::testing::internal::CaptureStdout();
  log_error("port {} is taken", 51820);
  log_verbose("a {} detail", "small");
  return ::testing::internal::GetCapturedStdout();
}

TEST(Log, WritesLinesAsWireguardGoDoes) {
  EXPECT_THAT(log_both(LogLevel::verbose, "wg0"),
              MatchesRegex("ERROR: \\(wg0\\) [0-9]+/[0-9]+/[0-9]+ [0-9]+:[0-9]+:[0-9]+ port 51820 is taken\n"
                           "DEBUG: \\(wg0\\) [0-9]+/[0-9]+/[0-9]+ [0-9]+:[0-9]+:[0-9]+ a small detail\n"));
}

TEST(Log, LeavesOutWhatTheLevelDoesNotAskFor) {
  EXPECT_THAT(log_both(LogLevel::error, "wg0"), MatchesRegex("ERROR: .*taken\n"));
  EXPECT_EQ(log_both(LogLevel::silent, "wg0"), "");
}

TEST(Log, TakesAPercentSignInAName) {
  EXPECT_THAT(log_both(LogLevel::error, "a%Y"), MatchesRegex("ERROR: \\(a%Y\\) .*taken\n"));
}

}  // namespace
}  // namespace culvert
