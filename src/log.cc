#include "src/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>

namespace culvert {
namespace {

// wireguard-go's words for the levels (device/logger.go).
class LevelWord : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string_view word = message.level == spdlog::level::err ? "ERROR" : "DEBUG";
    out.append(word.data(), word.data() + word.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<LevelWord>(); }
};

// syslog(3) would wait where nobody reads, and with it the control thread; so would spdlog's sink of it.
class SystemLogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit SystemLogSink(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    address_.sun_family = AF_UNIX;
    path.copy(address_.sun_path, sizeof address_.sun_path - 1);
  }
  ~SystemLogSink() override { ::close(socket_); }
  SystemLogSink(const SystemLogSink&) = delete;
  SystemLogSink& operator=(const SystemLogSink&) = delete;

 private:
  static constexpr size_t kMostBytes = 2048;

  void sink_it_(const spdlog::details::log_msg& message) override {
    if (message.time - window_start_ >= std::chrono::minutes(1)) {
      window_start_ = message.time;
      lines_ = 0;
    }
    if (++lines_ > kMostSystemLogLines) {
      ++left_out_;
      return;
    }
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string text(line.data(), std::min(line.size(), kMostBytes));
    if (left_out_ > 0) text += fmt::format(" ({} messages before it were too many)", left_out_);
    left_out_ = 0;
    // By name each time: whoever serves the log may have been restarted.
    ::sendto(socket_, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address_),
             sizeof address_);
  }
  void flush_() override {}

  const int socket_;
  sockaddr_un address_{};
  spdlog::log_clock::time_point window_start_;
  int lines_ = 0;  // in the minute since then
  uint64_t left_out_ = 0;
};

spdlog::level::level_enum threshold(LogLevel level) {
  switch (level) {
    case LogLevel::silent:
      return spdlog::level::off;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::verbose:
      return spdlog::level::debug;
  }
  return spdlog::level::err;
}

// An interface's name in a pattern, where a '%' of it is no flag.
std::string escaped(std::string interface_name) {
  for (size_t at = 0; (at = interface_name.find('%', at)) != std::string::npos; at += 2)
    interface_name.insert(at, 1, '%');
  return interface_name;
}

std::shared_ptr<spdlog::logger> make_logger(LogLevel level, spdlog::sink_ptr sink, const std::string& pattern,
                                            const std::string& line_end) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::local, line_end);
  formatter->add_flag<LevelWord>('*').set_pattern(pattern);
  auto logger = std::make_shared<spdlog::logger>("culvert", std::move(sink));
  logger->set_formatter(std::move(formatter));
  logger->set_level(threshold(level));
  logger->flush_on(spdlog::level::trace);
  return logger;
}

std::shared_ptr<spdlog::logger> make_stdout_logger(LogLevel level, const std::string& interface_name) {
  return make_logger(level, std::make_shared<spdlog::sinks::stdout_sink_mt>(),
                     "%*: (" + escaped(interface_name) + ") %Y/%m/%d %H:%M:%S %v", "\n");
}

std::shared_ptr<spdlog::logger>& current_logger() {
  static std::shared_ptr<spdlog::logger> logger = make_stdout_logger(LogLevel::error, "culvert");
  return logger;
}

thread_local std::string log_subject;

}  // namespace

void open_log(LogLevel level, const std::string& interface_name) {
  current_logger() = make_stdout_logger(level, interface_name);
}

void open_system_log(LogLevel level, const std::string& interface_name, const std::string& socket) {
  // Facility daemon, severity error, and the form of syslog(3).
  const std::string pattern =
      fmt::format("<27>%b %d %H:%M:%S culvert[{}]: ({}) %v", ::getpid(), escaped(interface_name));
  current_logger() =
      make_logger(std::min(level, LogLevel::error), std::make_shared<SystemLogSink>(socket), pattern, "");
}

bool log_enabled(LogLevel level) {
  return level != LogLevel::silent && current_logger()->should_log(threshold(level));
}

void set_log_subject(const std::string& subject) {
  log_subject = subject.empty() ? "" : subject + ": ";
}

void write_log(LogLevel level, std::string_view text) {
  if (!log_subject.empty()) {
    current_logger()->log(threshold(level), log_subject + std::string(text));
    return;
  }
  current_logger()->log(threshold(level), spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace culvert
