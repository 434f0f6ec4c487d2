// Addresses as numbers. The vector engines reckon with them, also with places before a message, where masks see to it
// that nothing is read; pointers may not go there. Only engine files include this.
#pragma once

#include <cstdint>

namespace culvert::crypto {
namespace {

template <class T>
[[gnu::always_inline]] inline T* at_address(uint64_t address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr): that is its purpose
}

}  // namespace
}  // namespace culvert::crypto
