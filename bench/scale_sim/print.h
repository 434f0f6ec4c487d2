// printf into a string.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

namespace culvert::scale_sim {

// At most 511 bytes; more is cut.
__attribute__((format(printf, 1, 2))) inline std::string print(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);  // NOLINT(clang-analyzer-valist.Uninitialized): it is
  va_end(arguments);
  return text;
}

}  // namespace culvert::scale_sim
