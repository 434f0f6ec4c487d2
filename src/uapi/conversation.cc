#include "src/uapi/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace culvert::uapi {

size_t Conversation::take(std::string_view input) {
  size_t taken = 0;
  while (!has_reply() && !over_) {
    const size_t newline = input.find('\n', taken);
    const size_t length = std::min(newline, input.size()) - taken;
    if (length > kMaxUapiLineBytes) {
      take_too_long_line();
    } else if (newline == std::string_view::npos) {
      break;
    } else {
      take_line(input.substr(taken, length));
      taken = newline + 1;
    }
  }
  return taken;
}

void Conversation::take_end(std::string_view rest) {
  if (parser_) {
    if (!rest.empty()) parser_->feed_line(rest);
    parser_->finish();
    finish_set();
  }
  over_ = true;
}

void Conversation::take_timeout() {
  if (parser_) {
    parser_->fail_timed_out();
    finish_set();
  } else {
    reply(UapiError::timed_out, "UAPI: an operation did not end in time; end it with a blank line");
  }
  over_ = true;
}

crypto::SecretString Conversation::take_reply() {
  if (reply_.empty() && more_ != nullptr) {
    reply_ += more_();
    if (reply_.empty()) {
      more_ = nullptr;
      reply(UapiError::none, "");
    }
  }
  return std::exchange(reply_, crypto::SecretString());
}

void Conversation::take_line(std::string_view line) {
  switch (expects_) {
    case Expects::operation:
      take_operation(line);
      break;
    case Expects::end_of_get:
      expects_ = Expects::operation;
      if (line.empty()) {
        reply_ = handler_->get();
        reply(UapiError::none, "");
      } else {
        reply(UapiError::invalid, "UAPI get: the line after get=1 is not blank; send get=1 and then a blank line");
        over_ = true;
      }
      break;
    case Expects::end_of_metrics:
      expects_ = Expects::operation;
      over_ = !line.empty();
      if (over_)
        reply(UapiError::invalid, "UAPI metrics: the line after metrics=1 is not blank");
      else
        more_ = handler_->metrics();
      break;
    case Expects::set_line:
      if (parser_->feed_line(line) == SetParser::Progress::finished) finish_set();
      break;
    case Expects::end_of_error:
      // A client that has read the error may not send the rest of its `set`.
      if (line.empty())
        expects_ = Expects::operation;
      else if (line == "set=1" || line == "get=1")
        take_operation(line);
      break;
  }
}

void Conversation::take_operation(std::string_view line) {
  if (line == "set=1") {
    expects_ = Expects::set_line;
    parser_.emplace(handler_->target());
  } else if (line == "get=1") {
    expects_ = Expects::end_of_get;
  } else if (line == "metrics=1") {
    expects_ = Expects::end_of_metrics;
  } else {
    handler_->on_error("UAPI: a client sent something else than an operation; start with set=1 or get=1");
    over_ = true;
  }
}

void Conversation::take_too_long_line() {
  if (parser_) {
    parser_->fail_line_too_long();
    finish_set();
  } else {
    handler_->on_error(fmt::format("UAPI: a client sent a line of more than {} bytes; write one key=value per line",
                                   kMaxUapiLineBytes));
  }
  over_ = true;
}

void Conversation::finish_set() {
  const UapiError error = parser_->error();
  const std::string text = parser_->error_text();
  parser_.reset();
  expects_ = error == UapiError::none ? Expects::operation : Expects::end_of_error;
  reply(error, text);
}

void Conversation::reply(UapiError error, const std::string& text) {
  if (error != UapiError::none) handler_->on_error(text);
  reply_ += fmt::format("errno={}\n\n", static_cast<int>(error));
}

}  // namespace culvert::uapi
