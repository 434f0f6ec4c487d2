// How a worker gets the control thread to look at a peer.
#pragma once

#include "src/pipeline/mailbox.h"
#include "src/pipeline/peer_path.h"

namespace culvert::pipeline {

// Sets `bits` and tells the control thread, unless it knows already that this peer has news. Worker thread.
inline void ask_attention(Mailbox& mailbox, PeerPath& path, uint32_t bits) {
  if (path.attention.fetch_or(bits, std::memory_order_acq_rel) != 0) return;
  if (!mailbox.attention.try_push(path.id))
    mailbox.overflowed.store(true, std::memory_order_release);  // pairs with the exchange in Device::attend()
  // Also when the ring is full: the control thread may have emptied it just now and be about to sleep.
  mailbox.control_wakeup.notify();
}

}  // namespace culvert::pipeline
