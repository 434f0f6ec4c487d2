// The outcome of set-up work: a value, or an error that carries errno and what was being done. Never used per
// packet.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace culvert::io {

// What failed. `context` names the action and the object ("bind UDP port 51820"), `number` is errno.
struct Error {
  int number = 0;
  std::string context;

  // "bind UDP port 51820: Address already in use"
  std::string text() const { return number == 0 ? context : context + ": " + std::strerror(number); }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return std::holds_alternative<T>(state_); }
  T& operator*() { return std::get<T>(state_); }
  const T& operator*() const { return std::get<T>(state_); }
  T* operator->() { return &std::get<T>(state_); }
  const T* operator->() const { return &std::get<T>(state_); }
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

// For work that yields nothing: `return Success{};`
struct Success {};
using Status = Result<Success>;

}  // namespace culvert::io
