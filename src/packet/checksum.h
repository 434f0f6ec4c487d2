// The Internet checksum (RFC 1071) over memory, alone or while copying.
#pragma once

#include <cstddef>
#include <cstdint>

namespace culvert::packet {

// The unfolded one's-complement sum of `length` bytes as native-endian 16-bit words, an odd last byte padded
// with zero. Sums add up; a piece that starts at an odd offset must not be added.
uint64_t checksum_add(const uint8_t* bytes, size_t length);

// The same, and copies the bytes to `destination` on the way.
uint64_t checksum_copy(uint8_t* destination, const uint8_t* source, size_t length);

// Folds to 16 bits in the byte order of the words summed, not complemented.
uint16_t checksum_fold(uint64_t sum);

}  // namespace culvert::packet
