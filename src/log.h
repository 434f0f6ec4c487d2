// The log, in wireguard-go's format on stdout: "ERROR: (wg0) 2026/01/31 23:59:59 text"; or the system log.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace culvert {

enum class LogLevel : uint8_t { silent, error, verbose };

// Until it is called the level is error and the name is "culvert". Call it again when the interface name is
// known. Not while other threads log.
void open_log(LogLevel level, const std::string& interface_name);

// Likewise, but sends errors to the system's log as "culvert[PID]: (wg0) text", facility daemon. `socket` is the one of
// syslog(3), which journald and rsyslog serve. Never waits for a reader of it: what it does not take is lost, and so is
// what exceeds kMostSystemLogLines a minute, which the next line then counts.
void open_system_log(LogLevel level, const std::string& interface_name, const std::string& socket = "/dev/log");

inline constexpr int kMostSystemLogLines = 100;

// What lines of this thread are about from now on, when one log has several interfaces; "" for nothing more.
void set_log_subject(const std::string& subject);

bool log_enabled(LogLevel level);
void write_log(LogLevel level, std::string_view text);

// Any thread. Never pass a private or preshared key.
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::error)) write_log(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

// Any thread. Appears with LOG_LEVEL=verbose as DEBUG.
template <typename... Args>
void log_verbose(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::verbose)) write_log(LogLevel::verbose, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace culvert
