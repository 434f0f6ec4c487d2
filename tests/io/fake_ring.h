// A ring without kernel: every entry is answered by a function, and links work as io_uring's do.
#pragma once

#include <cerrno>
#include <functional>
#include <numeric>

#include "io/uring/ring.h"

namespace culvert::io {

class FakeRing final : public Ring {
 public:
  // Bytes, or a negative errno.
  using Answer = std::function<int(Operation operation, mmsghdr& message)>;

  explicit FakeRing(Answer answer) : answer_(std::move(answer)) {}

  void run(Operation operation, int, std::span<mmsghdr> messages, std::span<int> results) override {
    ++runs;
    const bool linked = operation == Operation::write || operation == Operation::send;
    bool cancelled = false;
    for (size_t i = 0; i < messages.size(); ++i) {
      results[i] = cancelled ? -ECANCELED : answer_(operation, messages[i]);
      cancelled = linked && results[i] != static_cast<int>(bytes_of(messages[i]));
    }
  }

  static size_t bytes_of(const mmsghdr& message) {
    size_t bytes = 0;
    for (size_t i = 0; i < message.msg_hdr.msg_iovlen; ++i) bytes += message.msg_hdr.msg_iov[i].iov_len;
    return bytes;
  }

  size_t runs = 0;

 private:
  const Answer answer_;
};

}  // namespace culvert::io
