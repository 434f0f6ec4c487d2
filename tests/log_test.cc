#include "src/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <string>

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

// What the system's log gets to read.
class SystemLog {
 public:
  SystemLog() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~SystemLog() {
    ::close(socket_);
    ::unlink(path.c_str());
  }
  std::string next() const {
    char bytes[8192];
    const ssize_t count = ::recv(socket_, bytes, sizeof bytes, 0);
    return {bytes, static_cast<size_t>(std::max<ssize_t>(count, 0))};
  }

  const std::string path = ::testing::TempDir() + "/culvert_log_test." + std::to_string(::getpid());

 private:
  const int socket_;
};

TEST(SystemLog, GetsErrorsAsSyslogSendsThem) {
  const SystemLog log;
  open_system_log(LogLevel::error, "w%Y", log.path);
  log_verbose("a detail");
  log_error("port {} is taken", 51820);
  EXPECT_THAT(log.next(), MatchesRegex("<27>[A-Z][a-z][a-z] [0-9]+ [0-9]+:[0-9]+:[0-9]+ culvert\\[[0-9]+\\]: \\(w%Y\\) "
                                       "port 51820 is taken"));
  EXPECT_EQ(log.next(), "");
  log_error("{}", std::string(100000, 'x'));
  EXPECT_LT(log.next().size(), 4096u);
}

TEST(SystemLog, NeitherWaitsForAReaderNorFloodsIt) {
  const SystemLog log;
  open_system_log(LogLevel::error, "wg0", log.path);
  int received = 0;
  for (int i = 0; i < 10 * kMostSystemLogLines; ++i) {
    log_error("line {}", i);
    received += log.next().empty() ? 0 : 1;
  }
  EXPECT_GE(received, kMostSystemLogLines);
  EXPECT_LE(received, 2 * kMostSystemLogLines);  // a minute may have ended meanwhile
  open_system_log(LogLevel::error, "wg0", log.path);
  for (int i = 0; i < kMostSystemLogLines; ++i) log_error("nobody reads line {}", i);  // more than a socket holds
}

TEST(SystemLog, MayBeMissing) {
  open_system_log(LogLevel::error, "wg0", "/nonexistent/log");
  log_error("nobody hears this");
  open_system_log(LogLevel::silent, "wg0", "/nonexistent/log");
  EXPECT_FALSE(log_enabled(LogLevel::error));
}

}  // namespace
}  // namespace culvert
