// Numbers that a seed decides, the same on every machine and with every standard library.
#pragma once

#include <cstdint>

namespace culvert::scale_sim {

// The finalizer of splitmix64 (Steele, Lea, Flood 2014): each bit of the answer hangs on all bits of `word`.
[[nodiscard]] constexpr uint64_t scramble(uint64_t word) {
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9U;
  word = (word ^ word >> 27) * 0x94d049bb133111ebU;
  return word ^ word >> 31;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(scramble(seed + 1)) {}

  uint64_t word() { return scramble(state_ += 0x9e3779b97f4a7c15U); }
  double share() { return static_cast<double>(word() >> 11) * 0x1p-53; }  // in [0, 1)

 private:
  uint64_t state_;
};

// The number below `count` that 32 well-mixed bits stand for.
[[nodiscard]] constexpr uint32_t scaled(uint32_t bits, uint32_t count) {
  return static_cast<uint32_t>(uint64_t{bits} * count >> 32);
}

}  // namespace culvert::scale_sim
