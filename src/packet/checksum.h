// The Internet checksum (RFC 1071) over memory, alone or while copying.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace culvert::packet {

// The unfolded one's-complement sum of `length` bytes as native-endian 16-bit words, an odd last byte padded
// with zero. Sums add up; a piece that starts at an odd offset must not be added.
uint64_t checksum_add(const uint8_t* bytes, size_t length);

// The same, and copies the bytes to `destination` on the way.
uint64_t checksum_copy(uint8_t* destination, const uint8_t* source, size_t length);

// Folds to 16 bits in the byte order of the words summed, not complemented.
inline uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffu) + (sum >> 16);
  sum = (sum & 0xffffu) + (sum >> 16);
  sum = (sum & 0xffffu) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// Whether the checksum of an IPv4 header without options, 20 bytes, is right and written as senders write it: not
// 0xffff, the other form of zero. No call: it is asked of each packet that is to be joined.
inline bool ipv4_checksum_is_right(const uint8_t* header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < 20; i += 4) {
    uint32_t word;
    std::memcpy(&word, header + i, sizeof word);
    sum += word;
  }
  uint16_t checksum;
  std::memcpy(&checksum, header + 10, sizeof checksum);
  // A sum that folds to 0xffff, which is right, is one that 0xffff divides (and this one is not zero).
  return sum % 0xffff == 0 && checksum != 0xffff;
}

}  // namespace culvert::packet
