// The text of the WireGuard configuration protocol (wireguard.com/xplatform), as wireguard-go speaks it: the lines of
// `set` into an Operation, `get` out of a DeviceState. No sockets, no clock.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "src/device/configurable.h"
#include "src/uapi/operation.h"

namespace culvert::uapi {

// Longer lines end the operation with UapiError::io.
inline constexpr size_t kMaxUapiLineBytes = 4096;

// One `set` operation, fed with the lines after `set=1`. Each line is parsed as it arrives; the target changes when the
// operation is over.
//
// Thread safety: none. The target must outlive it. Memory: up to kMaxUapiLines changes.
class SetParser {
 public:
  explicit SetParser(device::Configurable& target) : target_(target) {}

  enum class Progress : uint8_t { more, finished };

  // Takes one line (without its newline; one trailing carriage return is dropped). `finished` after the blank line or
  // the first error, when the target has been changed by all lines before that; further calls do nothing.
  Progress feed_line(std::string_view line);

  // The input ended without a blank line: what wireguard-go takes as the end of the operation.
  void finish();

  // The input is broken, as a line is longer than kMaxUapiLineBytes, or stopped in the middle: an error like that of a
  // bad line.
  void fail_line_too_long();
  void fail_timed_out();

  // Lines that wait for the end of the operation.
  size_t waiting_lines() const { return operation_.lines(); }

  UapiError error() const { return error_; }
  // For the log, "" without an error: what is wrong, with which key and value (keys are never quoted), how to
  // mend it.
  const std::string& error_text() const { return error_text_; }

 private:
  void parse_line(std::string_view line);
  void parse_device_line(std::string_view key, std::string_view value);
  void parse_peer_line(std::string_view key, std::string_view value);
  void parse_public_key(std::string_view value);
  void parse_secret_key(Field field, std::string_view key, std::string_view value);
  void parse_number(Field field, std::string_view key, std::string_view value);
  void parse_switch(Field field, std::string_view key, std::string_view value);
  void parse_source_ports(std::string_view value);
  void parse_endpoint(std::string_view value);
  void parse_allowed_ip(std::string_view value);
  void parse_group(std::string_view value);
  void add(Change change);
  void end(bool complete);
  void fail(UapiError error, const std::string& text);
  void set_error(size_t line, UapiError error, const std::string& text);

  device::Configurable& target_;
  Operation operation_;
  bool in_peer_ = false;  // after the first public_key line
  bool finished_ = false;
  size_t line_number_ = 0;
  UapiError error_ = UapiError::none;
  std::string error_text_;
};

// The reply to `get`, with all keys, in wireguard-go's order and format, without the closing errno line. Peers in a
// group have one line more.
crypto::SecretString print_get(const device::DeviceState& state);

}  // namespace culvert::uapi
