// Batches of messages by io_uring, for sockets and for packet devices.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "io/transfer.h"
#include "io/uring/ring.h"

namespace culvert::io {

// Thread safety: as Transfer, and the thread that uses it first stays its only user.
//
// How much to ask for is a guess by the last receive: one message more than came, so that traffic that comes one by one
// costs one call of two entries, and twice as many again as long as all are filled.
class RingTransfer final : public Transfer {
 public:
  enum class For : uint8_t { sockets, packet_devices };

  RingTransfer(std::unique_ptr<Ring> ring, For what);

  Transferred send(int fd, std::span<mmsghdr> messages) override;
  Transferred receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) override;
  Engine engine() const override { return Engine::io_uring; }

 private:
  // What the last receive from a descriptor says of the next one.
  struct Guess {
    int fd = -1;
    size_t expected = 1;       // messages to ask the kernel for
    size_t average_bytes = 0;  // of a message; 0: unknown
  };
  Guess& guess_of(int fd);

  const std::unique_ptr<Ring> ring_;
  const Ring::Operation send_, receive_;
  std::vector<Guess> guesses_;  // one for each socket; few
  std::array<int, Ring::kEntries> results_;
};

}  // namespace culvert::io
