#include "io/port_senders.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace culvert::io {

PortSenders::Slot* PortSenders::find_known(Family family, uint16_t port) {
  const auto found = std::find_if(slots_.begin(), slots_.end(),
                                  [&](const Slot& slot) { return slot.family == family && slot.port == port; });
  return found == slots_.end() ? nullptr : &*found;
}

// A slot for another port; null while all are needed.
PortSenders::Slot* PortSenders::make_room() {
  if (slots_.size() < kMost) return &slots_.emplace_back();
  const auto oldest =
      std::min_element(slots_.begin(), slots_.end(), [](const Slot& a, const Slot& b) { return a.used < b.used; });
  return oldest->used == batch_ ? nullptr : &*oldest;
}

std::optional<size_t> PortSenders::find(Family family, uint16_t port) {
  const uint32_t fwmark = sockets_.fwmark();
  Slot* slot = find_known(family, port);
  if (slot == nullptr) {
    slot = make_room();
    if (slot == nullptr) return std::nullopt;
    Result<Fd> opened = sockets_.open_joiner(family, port);
    *slot = Slot{opened ? std::move(*opened) : Fd(), family, port, fwmark, 0};
  }
  slot->used = batch_;
  if (!slot->fd) return std::nullopt;
  if (slot->fwmark != fwmark)
    sockets_.syscalls().setsockopt(slot->fd.get(), SOL_SOCKET, SO_MARK, &fwmark, sizeof fwmark);
  slot->fwmark = fwmark;
  return static_cast<size_t>(slot - slots_.data());
}

}  // namespace culvert::io
