// An owned file descriptor.
#pragma once

#include <unistd.h>

#include <utility>

namespace culvert::io {

// Closes what it holds. Move only; -1 when it holds nothing. Thread safety: that of a plain int.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int number) : number_(number) {}
  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

  // Gives the descriptor away without closing it.
  int release() { return std::exchange(number_, -1); }

  // Closes what it holds and takes `number` instead. close(2) frees the descriptor even on EINTR (Linux), so
  // its result is of no use.
  void reset(int number = -1) {
    if (number_ >= 0) ::close(number_);
    number_ = number;
  }

 private:
  int number_ = -1;
};

}  // namespace culvert::io
