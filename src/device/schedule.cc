// What the control thread does in a turn: what workers ask for, handshakes that wait, timers that are due.

#include <chrono>

#include "crypto/random.h"
#include "src/device/device.h"
#include "src/device/encoding.h"
#include "src/log.h"
#include "src/pipeline/attention.h"

namespace culvert::device {
namespace {

// Handshakes of one turn; the loop looks after everything else in between.
constexpr size_t kHandshakesPerTurn = 64;

// The kernel module's rule: under load from an eighth of the queue on, and for a second after (receive.c).
constexpr size_t kUnderLoadQueue = pipeline::Mailbox::kMaxHandshakes / 8;
constexpr protocol::Duration kUnderLoadMemory = std::chrono::seconds(1);

// Actions may call for new ones (a keepalive without a keypair asks for a handshake), but never without end.
constexpr int kMaxAdvances = 4;

}  // namespace

protocol::Duration Device::draw_jitter() {
  constexpr auto kMaxMs =
      std::chrono::duration_cast<std::chrono::milliseconds>(protocol::kRekeyTimeoutJitterMax).count();
  return std::chrono::milliseconds(crypto::random_below(static_cast<uint32_t>(kMaxMs) + 1));
}

bool Device::attend() {
  bool more = false;
  for (const auto& worker : workers_) {
    pipeline::Mailbox& mailbox = worker->mailbox();
    uint64_t id = 0;
    while (mailbox.attention.try_pop(id)) {
      const auto found = peers_.find(id);
      if (found != peers_.end()) attend_peer(*found->second);
    }
    if (mailbox.overflowed.exchange(false, std::memory_order_acq_rel))
      for (auto& [peer_id, peer] : peers_) attend_peer(*peer);

    if (mailbox.handshakes.size() >= kUnderLoadQueue) under_load_until_ = now_ + kUnderLoadMemory;
    pipeline::HandshakeDatagram datagram;
    size_t taken = 0;
    while (taken < kHandshakesPerTurn && mailbox.handshakes.try_pop(datagram)) {
      receive(datagram);
      ++taken;
    }
    more |= taken == kHandshakesPerTurn;
  }
  return more;
}

void Device::attend_peer(DevicePeer& peer) {
  // Pairs with the release in ask_attention(): what the worker did before it asked is visible.
  const uint32_t attention = peer.path.attention.exchange(0, std::memory_order_acq_rel);
  if (!up_) return;
  const protocol::Keypair* const next = peer.peer.keypairs().next();
  if ((attention & pipeline::kKeypairConfirmed) != 0 && next != nullptr && next->confirmed()) {
    protocol::RetiredKeypairs retired;
    if (peer.peer.received_with(next, wall_, *index_table_, retired)) {
      log_verbose("{} - Handshake complete, keypair confirmed", log_name(peer));
      flush(peer);
    }
    retire(std::move(retired));
  }
  if ((attention & pipeline::kStagedLate) != 0) flush(peer);
  advance(peer);
}

void Device::advance(DevicePeer& peer) {
  for (int i = 0; i < kMaxAdvances; ++i) {
    const protocol::TimerActions actions = peer.peer.timers().advance(now_, draw_jitter());
    if (!actions.any()) break;
    if (actions.wipe_keys) retire(peer.peer.clear_keys(*index_table_));
    if (actions.give_up) {
      log_verbose("{} - Handshake did not complete after {} attempts, giving up", log_name(peer),
                  protocol::kMaxTimerHandshakes);
      drop_staged(peer, pipeline::DropReason::handshake_failed);
    }
    if (actions.clear_source) peer.path.endpoint.forget_source(peer.path.endpoint.load().source);
    if (actions.send_initiation) send_initiation(peer);
    if (actions.send_keepalive || actions.send_persistent_keepalive) flush_or_keepalive(peer);
  }
  reschedule(peer);
}

void Device::advance_timers() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    DevicePeer& peer = *deadlines_.begin()->second;
    const std::optional<protocol::Instant> before = peer.deadline;
    advance(peer);
    if (peer.deadline == before) break;  // still due: not before the next turn
  }
}

std::optional<protocol::Instant> Device::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void Device::reschedule(DevicePeer& peer) {
  const std::optional<protocol::Instant> deadline = peer.peer.timers().next_deadline();
  if (deadline == peer.deadline) return;
  if (peer.deadline) deadlines_.erase({*peer.deadline, &peer});
  if (deadline) deadlines_.insert({*deadline, &peer});
  peer.deadline = deadline;
}

}  // namespace culvert::device
