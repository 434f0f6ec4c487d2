// Which kernel this is, for what cannot be found out by trying.
#pragma once

#include <sys/utsname.h>

#include <array>
#include <charconv>
#include <compare>
#include <optional>
#include <string_view>
#include <system_error>

namespace culvert::io {

struct KernelVersion {
  int major = 0, minor = 0, patch = 0;

  // clang-tidy 14 takes the 0 that a < b is compared with for a null pointer.
  // NOLINTNEXTLINE(modernize-use-nullptr)
  friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};

// "6.1.0-18-amd64" and "6.12-rc1" as uname(2) says them; nothing for what does not start with a number.
inline std::optional<KernelVersion> parse_kernel_version(std::string_view release) {
  std::array<int, 3> numbers{};
  const char* at = release.data();
  const char* const end = at + release.size();
  for (int& number : numbers) {
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc{}) return std::nullopt;
    at = next != end && *next == '.' ? next + 1 : next;
    if (at == next) break;  // "6.12-rc1" has two numbers
  }
  return KernelVersion{numbers[0], numbers[1], numbers[2]};
}

// The running kernel's; 0.0.0 when it cannot be told, which is older than any.
inline KernelVersion kernel_version() {
  utsname names{};
  if (::uname(&names) != 0) return {};
  return parse_kernel_version(names.release).value_or(KernelVersion{});
}

}  // namespace culvert::io
