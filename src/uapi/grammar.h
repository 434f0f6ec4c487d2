// The text of the WireGuard configuration protocol (wireguard.com/xplatform), as wireguard-go speaks it:
// `set` line by line into a Configurable, `get` out of a DeviceState. No sockets, no clock.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/endpoint.h"
#include "src/device/configurable.h"

namespace culvert::uapi {

// What `errno=` says, always zero or negative (wireguard-go ipc/uapi_unix.go).
enum class UapiError : int {
  none = 0,
  io = -5,            // EIO: a line longer than kMaxUapiLineBytes
  invalid = -22,      // EINVAL: a key or value that is not understood
  protocol = -71,     // EPROTO: not a key=value line
  port_in_use = -98,  // EADDRINUSE: the listen port or the fwmark was refused
  unknown = -55,      // anything else
};

// Longer lines end the operation with UapiError::io.
inline constexpr size_t kMaxUapiLineBytes = 4096;

// One `set` operation, fed with the lines after `set=1`.
//
// Thread safety: none. The target must outlive it. Memory: constant.
class SetParser {
 public:
  explicit SetParser(device::Configurable& target) : target_(target) {}

  enum class Progress : uint8_t { more, finished };

  // Applies one line (without its newline; one trailing carriage return is dropped). `finished` after the
  // blank line or the first error; further calls do nothing. Lines before the bad one stay applied.
  Progress feed_line(std::string_view line);

  // The input ended without a blank line: what wireguard-go takes as the end of the operation.
  void finish();

  // The input is broken: a line is longer than kMaxUapiLineBytes.
  void fail_line_too_long();

  UapiError error() const { return error_; }
  // For the log, "" without an error: what is wrong, with which key and value (keys are never quoted), how to
  // mend it.
  const std::string& error_text() const { return error_text_; }

 private:
  enum class Section : uint8_t { device, peer, ignored_peer };

  void apply_line(std::string_view line);
  void apply_device_line(std::string_view key, std::string_view value);
  void select_peer(std::string_view value);
  void apply_peer_line(std::string_view key, std::string_view value);
  void apply_allowed_ip(std::string_view value);
  void apply_peer_switch(std::string_view key, std::string_view value);
  void leave_peer();
  void end();
  void fail(UapiError error, std::string text);
  void check(int number, UapiError error, std::string_view key, std::string_view value);

  device::Configurable& target_;
  Section section_ = Section::device;
  device::Key peer_{};
  bool peer_created_ = false;
  bool finished_ = false;
  uint32_t line_number_ = 0;
  UapiError error_ = UapiError::none;
  std::string error_text_;
};

// The reply to `get` in wireguard-go's order and format, without the closing errno line.
std::string print_get(const device::DeviceState& state);

}  // namespace culvert::uapi
