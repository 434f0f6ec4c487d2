// What is said on one UAPI connection: operations in, replies out. No sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "src/uapi/grammar.h"

namespace culvert::uapi {

// What the server asks of the device. Called on the thread that feeds the conversation.
class Handler {
 public:
  virtual ~Handler() = default;

  // The reply to `get`: print_get() of the device.
  virtual crypto::SecretString get() = 0;
  // The reply to `metrics`, an operation of ours: the text that Prometheus reads, of the device and every peer. Each
  // call of what it yields makes the next piece; "" is the end.
  virtual std::function<std::string()> metrics() {
    return [] { return std::string(); };
  }
  // Receives `set`.
  virtual device::Configurable& target() = 0;
  // A client did something wrong; for the log. No secrets.
  virtual void on_error(const std::string& text) = 0;
};

// Splits the bytes of a client into operations and answers each. Many operations may follow each other. The changes
// of a `set` are made when all of its lines have arrived.
//
// wireguard-go replies to the bad line of a `set` at once and takes the next line for an operation, which
// ends the connection; we reply at once too, but skip the rest of the `set`.
//
// Thread safety: none. The handler must outlive it.
class Conversation {
 public:
  explicit Conversation(Handler& handler) : handler_(&handler) {}

  // Takes complete lines from the front of `input` until there is a reply or no complete line is left, and
  // yields how many bytes that was. The caller keeps the rest and passes it again with more behind it; it is
  // at most kMaxUapiLineBytes long unless there is a reply or is_over().
  size_t take(std::string_view input);

  // The client will send no more; `rest` is what take() left. As in wireguard-go that also ends a `set`,
  // whose last line needs no newline.
  void take_end(std::string_view rest);

  // The client has been silent for too long in the middle of an operation. It gets an error, and the lines that it sent
  // are applied, as they are when it hangs up.
  void take_timeout();

  // Whether an operation has begun and not ended.
  bool is_inside() const {
    return expects_ == Expects::set_line || expects_ == Expects::end_of_get || expects_ == Expects::end_of_metrics;
  }
  // Lines of a `set` that wait for its end.
  size_t waiting_lines() const { return parser_ ? parser_->waiting_lines() : 0; }

  // The reply to send before the next take(), or its next piece; "" if there is none.
  crypto::SecretString take_reply();
  bool has_reply() const { return !reply_.empty() || more_ != nullptr; }

  // Close the connection after the reply.
  bool is_over() const { return over_; }

 private:
  enum class Expects : uint8_t {
    operation,       // set=1, get=1 or metrics=1
    end_of_get,      // the blank line behind get=1
    end_of_metrics,  // and behind metrics=1
    set_line,        // for parser_
    end_of_error,    // the rest of a `set` that failed: up to its blank line or the next operation
  };

  void take_line(std::string_view line);
  void take_operation(std::string_view line);
  void take_too_long_line();
  void finish_set();
  void reply(UapiError error, const std::string& text);

  Handler* handler_;
  Expects expects_ = Expects::operation;
  std::optional<SetParser> parser_;
  crypto::SecretString reply_;
  std::function<std::string()> more_;  // of a reply that is made in pieces; null: there is none
  bool over_ = false;
};

}  // namespace culvert::uapi
