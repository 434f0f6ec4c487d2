// The hash by which NICs choose a receive queue: Toeplitz, as Microsoft's RSS specification defines it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace culvert::scale_sim {

// XOR of the 32-bit windows of `key` at every bit of `input` that is set; both count from their first byte's highest
// bit. `key` must be at least four bytes longer than `input`.
[[nodiscard]] uint32_t toeplitz(std::span<const uint8_t> key, std::span<const uint8_t> input);

}  // namespace culvert::scale_sim
