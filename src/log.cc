#include "src/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

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

std::shared_ptr<spdlog::logger> make_logger(LogLevel level, std::string interface_name) {
  // A '%' in an interface name is no pattern flag.
  for (size_t at = 0; (at = interface_name.find('%', at)) != std::string::npos; at += 2)
    interface_name.insert(at, 1, '%');
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelWord>('*').set_pattern("%*: (" + interface_name + ") %Y/%m/%d %H:%M:%S %v");
  auto logger = std::make_shared<spdlog::logger>("culvert", std::make_shared<spdlog::sinks::stdout_sink_mt>());
  logger->set_formatter(std::move(formatter));
  logger->set_level(threshold(level));
  logger->flush_on(spdlog::level::trace);
  return logger;
}

std::shared_ptr<spdlog::logger>& current_logger() {
  static std::shared_ptr<spdlog::logger> logger = make_logger(LogLevel::error, "culvert");
  return logger;
}

}  // namespace

void open_log(LogLevel level, const std::string& interface_name) {
  current_logger() = make_logger(level, interface_name);
}

bool log_enabled(LogLevel level) {
  return level != LogLevel::silent && current_logger()->should_log(threshold(level));
}

void write_log(LogLevel level, std::string_view text) {
  current_logger()->log(threshold(level), spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace culvert
