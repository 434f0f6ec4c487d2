// Keys and other secrets: bytes and text that never outlive their owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace culvert::crypto {

// Overwrites the range with zeros; the compiler cannot leave it out (sodium_memzero).
void wipe(std::span<uint8_t> bytes);

// True when both ranges hold the same bytes. The time depends on the lengths alone; ranges of different
// lengths are never equal.
[[nodiscard]] bool equal_constant_time(std::span<const uint8_t> a, std::span<const uint8_t> b);

// True when every byte is zero. The time depends on the length alone.
[[nodiscard]] bool is_zero_constant_time(std::span<const uint8_t> bytes);

// N secret bytes, zero until written. They are wiped when the object is destroyed or moved from; copies are
// made only by asking for one with clone().
//
// Thread safety: as a plain array.
template <size_t N>
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::span<const uint8_t, N> bytes) { assign(bytes); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  Secret(Secret&& other) noexcept : bytes_(other.bytes_) { other.wipe(); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      other.wipe();
    }
    return *this;
  }
  ~Secret() { wipe(); }

  [[nodiscard]] Secret clone() const { return Secret(bytes()); }
  void assign(std::span<const uint8_t, N> bytes) {
    for (size_t i = 0; i < N; ++i) bytes_[i] = bytes[i];
  }
  void wipe() { crypto::wipe(bytes_); }

  uint8_t* data() { return bytes_.data(); }
  const uint8_t* data() const { return bytes_.data(); }
  static constexpr size_t size() { return N; }
  std::span<uint8_t, N> bytes() { return bytes_; }
  std::span<const uint8_t, N> bytes() const { return bytes_; }

  [[nodiscard]] bool is_zero() const { return is_zero_constant_time(bytes_); }
  // In constant time.
  friend bool operator==(const Secret& a, const Secret& b) { return equal_constant_time(a.bytes_, b.bytes_); }

 private:
  std::array<uint8_t, N> bytes_{};
};

// Hands memory out as `Upstream` does, and wipes it before it gives it back: a string that grows leaves no copy behind.
//
// Thread safety: as Upstream.
template <typename T, typename Upstream = std::allocator<T>>
class WipingAllocator {
 public:
  using value_type = T;
  // The second parameter would keep the library from finding this by itself.
  template <typename Other>
  struct rebind {
    using other = WipingAllocator<Other, typename std::allocator_traits<Upstream>::template rebind_alloc<Other>>;
  };

  WipingAllocator() = default;
  template <typename Other, typename OtherUpstream>
  WipingAllocator(const WipingAllocator<Other, OtherUpstream>&) {}  // NOLINT(google-explicit-constructor): its contract

  T* allocate(size_t count) { return Upstream().allocate(count); }
  void deallocate(T* memory, size_t count) {
    wipe({reinterpret_cast<uint8_t*>(memory), count * sizeof(T)});
    Upstream().deallocate(memory, count);
  }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
};

// Text that holds keys, in whatever notation. What fits into the object itself (15 characters, less than any key) is
// not wiped.
using SecretString = std::basic_string<char, std::char_traits<char>, WipingAllocator<char>>;

// Removes the first `count` characters, and the copies that moving the rest forward leaves behind its new end.
void drop_front(SecretString& text, size_t count);

}  // namespace culvert::crypto
