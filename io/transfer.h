// How a queue moves a batch of messages between memory and a descriptor: one virtual call a batch.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>

#include "io/engine.h"

namespace culvert::io {

// What became of a batch: `count` messages were moved. `error` is the errno of the one that failed behind them; 0 when
// there was none, or when only the next call can tell.
struct Transferred {
  size_t count = 0;
  int error = 0;
};

// Thread safety: none; the owner of the queue. No method waits, and none keeps a pointer that it was given.
class Transfer {
 public:
  virtual ~Transfer() = default;

  // Sends messages in order, until one fails: those behind it are not tried. Sets msg_len of those that were sent.
  // `messages` must not be empty; either count or error of the result is not 0.
  virtual Transferred send(int fd, std::span<mmsghdr> messages) = 0;

  // Receives what is there, in order of arrival, into messages[0..count), until `budget_bytes` have come; a little more
  // is possible. Sets their msg_len and what recvmsg(2) sets. Messages may change places with each other, each with its
  // own buffers. Nothing there is not an error: {0, 0}.
  virtual Transferred receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) = 0;

  virtual Engine engine() const = 0;
};

}  // namespace culvert::io
