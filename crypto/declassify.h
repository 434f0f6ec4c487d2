// Marks what follows from secrets and may be known to everybody all the same: whether a message was authentic. Only
// engine files include this. It does nothing but in the constant-time check, where valgrind's memcheck holds secrets
// for undefined and complains about every branch and address that follows from them.
#pragma once

#ifdef CULVERT_CONSTANT_TIME_CHECK
#include <valgrind/memcheck.h>
#endif

namespace culvert::crypto {
namespace {

[[gnu::always_inline]] inline bool declassify(bool value) {
#ifdef CULVERT_CONSTANT_TIME_CHECK
  VALGRIND_MAKE_MEM_DEFINED(&value, sizeof value);
#endif
  return value;
}

}  // namespace
}  // namespace culvert::crypto
