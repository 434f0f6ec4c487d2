#include "io/uring/ring_transfer.h"

#include <algorithm>
#include <cerrno>

namespace culvert::io {

RingTransfer::RingTransfer(std::unique_ptr<Ring> ring, For what)
    : ring_(std::move(ring)),
      send_(what == For::sockets ? Ring::Operation::send : Ring::Operation::write),
      receive_(what == For::sockets ? Ring::Operation::receive : Ring::Operation::read) {}

Transferred RingTransfer::send(int fd, std::span<mmsghdr> messages) {
  messages = messages.first(std::min<size_t>(messages.size(), Ring::kEntries));
  ring_->run(send_, fd, messages, results_);
  if (results_[0] == -ECANCELED) {  // for another one's fault
    messages = messages.first(1);
    ring_->run(send_, fd, messages, results_);
  }
  Transferred sent;
  while (sent.count < messages.size() && results_[sent.count] >= 0) {
    messages[sent.count].msg_len = static_cast<unsigned>(results_[sent.count]);
    ++sent.count;
  }
  // Behind a message that was taken in part the rest is cancelled too, and is for the next call.
  if (sent.count < messages.size() && results_[sent.count] != -ECANCELED) sent.error = -results_[sent.count];
  return sent;
}

Transferred RingTransfer::receive(int fd, std::span<mmsghdr> messages, size_t budget_bytes) {
  Guess& guess = guess_of(fd);
  Transferred received;
  size_t bytes = 0;
  bool more = true;
  while (more && received.count < messages.size() && bytes < budget_bytes) {
    const size_t room = messages.size() - received.count;
    const size_t by_budget =
        guess.average_bytes != 0 ? (budget_bytes - bytes - 1) / guess.average_bytes + 1 : size_t{Ring::kEntries};
    const size_t asked = std::min({room, guess.expected, by_budget, size_t{Ring::kEntries}});
    const std::span<mmsghdr> part = messages.subspan(received.count, asked);
    ring_->run(receive_, fd, part, results_);
    for (size_t i = 0; i < asked; ++i) {
      if (results_[i] == -EINTR) continue;
      if (results_[i] < 0) {
        more = false;
        received.error = received.error == 0 && results_[i] != -EAGAIN ? -results_[i] : received.error;
        continue;
      }
      // A message may have come between two looks at an empty queue: it closes ranks.
      part[i].msg_len = static_cast<unsigned>(results_[i]);
      bytes += part[i].msg_len;
      std::swap(part[i], messages[received.count++]);
    }
    guess.expected = 2 * asked;
  }
  guess.expected = received.count + 1;
  guess.average_bytes = received.count != 0 ? bytes / received.count : 0;
  return received;
}

RingTransfer::Guess& RingTransfer::guess_of(int fd) {
  for (Guess& guess : guesses_)
    if (guess.fd == fd) return guess;
  return guesses_.emplace_back(Guess{.fd = fd});
}

}  // namespace culvert::io
